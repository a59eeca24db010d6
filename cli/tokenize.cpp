// m2bert tokenize: how a text is split into tokens, and back.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/text_option.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::cli {
namespace {

struct TokenizeOptions {
  std::string model;
  TextOption input;
  std::string pair;
  std::vector<int32_t> decode;
  int max_length = 0;
  std::string truncation_side;
  bool no_special_tokens = false, upstream_cut = false;
};

tokenize::WordPiece tokenizer_of(const TokenizeOptions& options) {
  return options.model.empty() ? tokenize::WordPiece::builtin() : tokenize::WordPiece::from_file(options.model);
}

tokenize::EncodeOptions encode_options(const tokenize::WordPiece& tokenizer, const TokenizeOptions& options) {
  tokenize::EncodeOptions how;
  if (options.max_length > 0) how.max_length = static_cast<size_t>(options.max_length);
  how.truncation_side = truncation_side_named(options.truncation_side).value_or(tokenizer.settings().truncation_side);
  how.add_special_tokens = !options.no_special_tokens;
  how.upstream_cut = options.upstream_cut;
  return how;
}

io::Tree encoding_tree(const tokenize::WordPiece& tokenizer, const tokenize::Encoding& encoding, uint64_t index) {
  io::Tree tokens = io::Tree::list(), offsets = io::Tree::list();
  for (const int32_t id : encoding.ids) tokens.push_back(tokenizer.token(id));
  for (const auto& [begin, end] : encoding.offsets) offsets.push_back(io::Tree::list({begin, end}));
  return {{"index", index},     {"ids", io::Tree::list({encoding.ids.begin(), encoding.ids.end()})},
          {"tokens", tokens},   {"type_ids", io::Tree::list({encoding.type_ids.begin(), encoding.type_ids.end()})},
          {"offsets", offsets}, {"truncated", encoding.truncated}};
}

void print_table(const tokenize::WordPiece& tokenizer, const tokenize::Encoding& encoding) {
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    std::string id = std::to_string(encoding.ids[i]), token(tokenizer.token(encoding.ids[i]));
    id.insert(0, 6 - std::min<size_t>(id.size(), 6), ' ');
    token.resize(std::max<size_t>(token.size(), 20), ' ');
    std::cout << id << "  " << token;
    if (!encoding.special_tokens_mask[i]) std::cout << "  bytes " << encoding.offsets[i].first << " to " << encoding.offsets[i].second;
    std::cout << "\n";
  }
  std::cout << encoding.ids.size() << " tokens" << (encoding.truncated ? ", cut" : "") << "\n";
}

void print_decoded(const tokenize::WordPiece& tokenizer, const TokenizeOptions& options, bool json) {
  for (const int32_t id : options.decode)
    require(id >= 0 && static_cast<size_t>(id) < tokenizer.vocab_size(), "--decode ", id, ": the vocabulary has ids 0 to ",
            tokenizer.vocab_size() - 1);
  const std::string text = tokenizer.decode(options.decode, options.no_special_tokens);
  std::cout << (json ? io::to_json(io::Tree{{"text", text}}) : text) << "\n";
}

void print_encoded(const tokenize::WordPiece& tokenizer, const TokenizeOptions& options, bool json) {
  const tokenize::EncodeOptions how = encode_options(tokenizer, options);
  const auto source = open_texts(options.input);
  std::string text;
  while (source->next(text)) {
    const auto encoding = options.pair.empty() ? tokenizer.encode(text, how) : tokenizer.encode_pair(text, options.pair, how);
    if (json) std::cout << io::to_json(encoding_tree(tokenizer, encoding, source->index())) << "\n";
    else print_table(tokenizer, encoding);
  }
  report_skipped(source->skipped(), source->first_skipped());
}

}  // namespace

Run tokenize_command(CLI::App& app, const Globals& globals) {
  const auto options = std::make_shared<TokenizeOptions>();
  app.add_option("--model", options->model, "vocab.txt, tokenizer.json or model folder (default: bert-base-uncased, built in)")
      ->type_name("PATH");
  add_text_options(app, options->input);
  app.add_option("--pair", options->pair, "Second text of a pair")->type_name("TEXT");
  app.add_option("--decode", options->decode, "Turn token ids into text instead")->type_name("ID");
  add_number(app, "--max-length", options->max_length, 1, 1 << 24, "Truncate to that many tokens");
  add_truncation_side_option(app, options->truncation_side);
  app.add_flag("--no-special-tokens", options->no_special_tokens, "Without [CLS], [SEP] and other special tokens");
  app.add_flag("--reference-cut", options->upstream_cut, "Truncate after [SEP] was added, as upstream's scripts do");
  return [options, &globals] {
    check_option_text("--pair", options->pair);
    const tokenize::WordPiece tokenizer = tokenizer_of(*options);
    if (options->decode.empty()) print_encoded(tokenizer, *options, globals.json);
    else print_decoded(tokenizer, *options, globals.json);
  };
}

}  // namespace m2bert::cli
