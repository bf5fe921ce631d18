// The flags of every tool that runs a model: --device, --devices, --dtype and --max-model-len.
// Linking this library defines them.

#ifndef KVP_LLM_DECODER_FLAGS_H_
#define KVP_LLM_DECODER_FLAGS_H_

#include <string>

#include "llm/decoder.h"

namespace kvp {

// What the flags say.
Decoder::Options DecoderOptionsFromFlags();

// What is wrong with them whatever the model and the machine, in words that name flag and value; or
// "". Decoder::Load finds the rest.
std::string DecoderUsageProblem();

}  // namespace kvp

#endif  // KVP_LLM_DECODER_FLAGS_H_
