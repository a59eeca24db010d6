#pragma once
// Fields that several APIs share.
#include <optional>
#include <string>
#include <vector>

#include "m2bert/io/tree.h"
#include "m2bert/serve/service.h"

namespace m2bert::serve {

// The body's field; ApiError: it is missing.
const io::Tree& field_of(const io::Tree& body, const char* name);
// The body's field; nullptr: it is missing or null.
const io::Tree* given(const io::Tree& body, const char* name);

// A text, a list of texts, token ids or a list of those: OpenAI's and TEI's inputs. param: the field's name, for errors. single: whether it
// was a text or token ids by itself.
std::vector<Input> inputs_of(const io::Tree& field, const std::string& param, bool* single = nullptr);

// "left", "right", "Left", "Right"; "start" and "end".
tokenize::TruncationSide side_named(const std::string& name, const std::string& param);
// "max_length", "bucket", "do_not_pad".
infer::PadMode padding_named(const std::string& name);

// The settings of the fields truncate, truncation_side, truncation_direction, prompt_name, prompt, padding, truncate_prompt_tokens and
// add_special_tokens, as far as they are there. truncate_prompt_tokens -1: the model's maximum.
TextSettings settings_of(const io::Tree& body, const ServedModel& model);

// The settings with the first of these prompts that the model has; as they are if they name a prompt, or if it has none of them.
TextSettings with_prompt(const ServedModel& model, TextSettings settings, std::initializer_list<const char*> names);

// The field encoding_format, "float" (the default) or "base64".
bool wants_base64(const io::Tree& body);

// The field "chunking": {"tokens": 256, "overlap": 32}, {"sentences": true, "tokens": 256}, {"spans": [[0, 120], ...]} for each input, in
// characters, or {"token_spans": ...}. A single input may have its spans without the outer list. Absent: nullopt.
std::optional<Chunking> chunking_of(const io::Tree& body, size_t inputs);

}  // namespace m2bert::serve
