// The release that this is.

#ifndef KVP_LAUNCHER_VERSION_H_
#define KVP_LAUNCHER_VERSION_H_

namespace kvp {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace kvp

#endif  // KVP_LAUNCHER_VERSION_H_
