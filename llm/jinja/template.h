// Templates in the language of Jinja, as far as chat templates use it.
//
// A template gives what Jinja 3 gives with the settings of Hugging Face's transformers: a line
// break behind a block and white space before one are left out (trim_blocks, lstrip_blocks), and
// there are raise_exception, break, continue and {% generation %}. There are text, {{ … }}, if,
// for, set, macro and namespace; the expressions of Python with lists, dicts and slices; and the
// filters, tests and methods that llm/jinja/filters.cc and methods.cc list. Whatever else a
// template uses is an error, never passed over.

#ifndef KVP_LLM_JINJA_TEMPLATE_H_
#define KVP_LLM_JINJA_TEMPLATE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace kvp::jinja {

// Immutable; thread-safe.
class Template {
 public:
  // INVALID_ARGUMENT, naming the line, where `source` is no template; UNIMPLEMENTED for a statement
  // that isn't supported.
  static absl::StatusOr<std::unique_ptr<Template>> Parse(absl::string_view source);

  virtual ~Template() = default;

  // The text, with the members of the object `variables` as variables. INVALID_ARGUMENT for what
  // the template refuses or gets wrong, UNIMPLEMENTED for what isn't supported, RESOURCE_EXHAUSTED
  // where it takes too many steps or too much memory.
  absl::StatusOr<std::string> Render(const nlohmann::json& variables) const {
    return RenderWithin(kMaxWorkBytes, variables);
  }

  // As Render, with another limit of the work: the bytes that the rendering makes and looks at,
  // and some for each step.
  virtual absl::StatusOr<std::string> RenderWithin(int64_t max_work_bytes,
                                                   const nlohmann::json& variables) const = 0;

  // Hundreds of times what a conversation as long as a model's context takes.
  static constexpr int64_t kMaxWorkBytes = int64_t{1} << 30;
};

}  // namespace kvp::jinja

#endif  // KVP_LLM_JINJA_TEMPLATE_H_
