#include "util/malloc_tuning.h"

#include <malloc.h>

namespace kvp {

void TuneMallocForLargeBuffers() {
  // mallopt takes no threshold above 32 MiB.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
}

}  // namespace kvp
