// Tokenizer: texts to ids and back.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/threads.h"
#include "m2bert/tokenize/characters.h"
#include "m2bert/tokenize/wordpiece.h"
#include "python/bindings/bind.h"
#include "python/bindings/model.h"
#include "python/bindings/runtime.h"
#include "python/bindings/texts.h"

namespace m2bert::python {
namespace {

using tokenize::WordPiece;

// An encoding whose offsets count characters, with the tokenizer that knows its tokens.
struct Encoding {
  tokenize::Encoding values;
  WordPiece tokenizer;
};

constexpr const char* kEncoding = R"(The tokens of a text, or of a pair of texts.

Numpy arrays: `ids`, `type_ids` (1: second text of a pair), `attention_mask` and `special_tokens_mask` [tokens]; `offsets` [tokens, 2],
the characters [begin, end) of each token in its text, (0, 0) for special tokens. `tokens` is a list of str; `truncated` says whether
tokens were cut off.

>>> encoding = m2bert.Tokenizer()("one two")
>>> len(encoding), encoding.tokens, encoding.truncated
(4, ['[CLS]', 'one', 'two', '[SEP]'], False)
)";

// Texts of a call with, for pairs, their second texts.
struct Inputs {
  std::vector<std::string> first, second;
};

std::vector<std::string> texts_of(nb::handle texts, const char* what) {
  std::vector<std::string> all;
  for (const nb::handle text : texts) all.push_back(text_of(text, what + std::to_string(all.size())));
  return all;
}

// Offsets in bytes become offsets in characters. type: the text of the pair whose offsets are meant.
void count_characters(tokenize::Encoding& encoding, const std::string& text, int type) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) >= 0; })) return;
  const tokenize::Characters characters(text);
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    if (encoding.special_tokens_mask[i] || encoding.type_ids[i] != type) continue;
    auto& [begin, end] = encoding.offsets[i];
    begin = static_cast<uint32_t>(characters.before(begin));
    end = static_cast<uint32_t>(characters.before(end));
  }
}

std::vector<tokenize::Encoding> encode(const WordPiece& tokenizer, const Inputs& inputs, const tokenize::EncodeOptions& options,
                                       bool pairs) {
  auto encodings = pairs ? tokenizer.encode_pairs(inputs.first, inputs.second, options, threads())
                         : tokenizer.encode_batch(inputs.first, options, threads());
  for (size_t i = 0; i < encodings.size(); ++i) {
    count_characters(encodings[i], inputs.first[i], 0);
    if (pairs) count_characters(encodings[i], inputs.second[i], 1);
  }
  return encodings;
}

nb::list encode_batch(const WordPiece& tokenizer, nb::handle texts, const nb::object& seconds, std::optional<size_t> max_length,
                      const std::optional<std::string>& truncation_side, bool add_special_tokens) {
  const bool pairs = !seconds.is_none();
  const Inputs inputs{texts_of(texts, pairs ? "first text " : "text "),
                      pairs ? texts_of(seconds, "second text ") : std::vector<std::string>{}};
  require(!pairs || inputs.first.size() == inputs.second.size(), inputs.first.size(), " texts, and ", inputs.second.size(),
          " second texts of pairs");
  tokenize::EncodeOptions options;
  options.max_length = max_length.value_or(SIZE_MAX);
  options.truncation_side = truncation_side ? truncation_side_named(*truncation_side) : tokenizer.settings().truncation_side;
  options.add_special_tokens = add_special_tokens;
  auto encodings = [&] {
    const WithoutGil released;
    return encode(tokenizer, inputs, options, pairs);
  }();
  nb::list results;
  for (tokenize::Encoding& encoding : encodings) results.append(nb::cast(Encoding{std::move(encoding), tokenizer}));
  return results;
}

WordPiece load(const std::optional<std::string>& model, std::optional<bool> lowercase, std::optional<bool> strip_accents,
               std::optional<bool> split_chinese) {
  const tokenize::LoadOptions options{lowercase, strip_accents, split_chinese};
  if (model) return WordPiece::from_file(*model, options);
  require(!lowercase && !strip_accents && !split_chinese,
          "the tokenizer of bert-base-uncased, which is built in, has no options: name a file");
  return WordPiece::builtin();
}

// A view of the values, which keeps the encoding alive.
template <class T>
nb::object view(nb::handle self, const std::vector<T>& values) {
  const size_t shape[1] = {values.size()};
  return nb::cast(nb::ndarray<nb::numpy, const T>(values.data(), 1, shape, self));
}

nb::object offsets_of(nb::handle self) {
  const auto& offsets = nb::cast<const Encoding&>(self).values.offsets;
  const size_t shape[2] = {offsets.size(), 2};
  static_assert(sizeof(offsets[0]) == 2 * sizeof(uint32_t));
  return nb::cast(nb::ndarray<nb::numpy, const uint32_t>(reinterpret_cast<const uint32_t*>(offsets.data()), 2, shape, self));
}

nb::list tokens_of(const Encoding& encoding) {
  nb::list tokens;
  for (const int32_t id : encoding.values.ids) tokens.append(encoding.tokenizer.token(id));
  return tokens;
}

template <auto member>
void add_view(nb::class_<Encoding>& encoding, const char* name) {
  encoding.def_prop_ro(name, [](nb::handle self) { return view(self, nb::cast<const Encoding&>(self).values.*member); });
}

}  // namespace

void bind_tokenizer(nb::module_& m) {
  nb::class_<Encoding> encoding(m, "Encoding", kEncoding);
  add_view<&tokenize::Encoding::ids>(encoding, "ids");
  add_view<&tokenize::Encoding::type_ids>(encoding, "type_ids");
  add_view<&tokenize::Encoding::attention_mask>(encoding, "attention_mask");
  add_view<&tokenize::Encoding::special_tokens_mask>(encoding, "special_tokens_mask");
  encoding.def_prop_ro("offsets", &offsets_of)
      .def_prop_ro("tokens", &tokens_of)
      .def_prop_ro("truncated", [](const Encoding& self) { return self.values.truncated; })
      .def("__len__", [](const Encoding& self) { return self.values.ids.size(); });

  nb::class_<WordPiece>(m, "Tokenizer")
      .def_static("load", &load, "model"_a.none(), "lowercase"_a.none(), "strip_accents"_a.none(), "split_chinese"_a.none())
      .def("encode_batch", &encode_batch, "texts"_a, "seconds"_a.none(), "max_length"_a.none(), "truncation_side"_a.none(),
           "add_special_tokens"_a)
      .def(
          "decode", [](const WordPiece& self, const std::vector<int32_t>& ids, bool skip) { return self.decode(ids, skip); }, "ids"_a,
          "skip_special_tokens"_a)
      .def(
          "token_to_id",
          [](const WordPiece& self, std::string_view token) {
            const int32_t id = self.id(token);
            return id < 0 ? std::nullopt : std::optional(id);
          },
          "token"_a)
      .def(
          "id_to_token", [](const WordPiece& self, int32_t id) { return self.token(id); }, "id"_a)
      .def_prop_ro("vocab_size", &WordPiece::vocab_size)
      .def_prop_ro("lowercase", &WordPiece::lowercase)
      .def_prop_ro("pad_id", &WordPiece::pad_id)
      .def_prop_ro("cls_id", &WordPiece::cls_id)
      .def_prop_ro("sep_id", &WordPiece::sep_id)
      .def_prop_ro("mask_id", &WordPiece::mask_id)
      .def_prop_ro("unk_id", &WordPiece::unk_id);
}

}  // namespace m2bert::python
