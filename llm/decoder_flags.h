// The flags of every tool that runs a model: --device, --devices, --dtype and --max-model-len.
// Linking this library defines them.

#ifndef KVP_LLM_DECODER_FLAGS_H_
#define KVP_LLM_DECODER_FLAGS_H_

#include "llm/decoder.h"

namespace kvp {

// What the flags say; Decoder::Load checks it.
Decoder::Options DecoderOptionsFromFlags();

}  // namespace kvp

#endif  // KVP_LLM_DECODER_FLAGS_H_
