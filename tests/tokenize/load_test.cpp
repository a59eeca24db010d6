// Tokenizer files: good ones, settings that must be refused by name, and broken ones.
#include "m2bert/error.h"
#include "m2bert/tokenize/wordpiece.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace m2bert::tokenize {
namespace {

namespace fs = std::filesystem;

// The text with its first `from` replaced.
std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

const std::string lines = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nHello\n##s\n,\ncafé\ncafe\n";

const std::string json = R"({"version": "1.0", "truncation": {"max_length": 12, "strategy": "LongestFirst", "stride": 0},
 "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
 "added_tokens": [{"id": 4, "content": "[MASK]", "special": true, "normalized": false}, {"id": 8, "content": "<new>", "special": false, "normalized": false}],
 "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
 "pre_tokenizer": {"type": "BertPreTokenizer"},
 "post_processor": {"type": "TemplateProcessing",
  "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
  "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
   {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
  "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
 "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
 "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
  "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "hello": 5, "Hello": 6, "##s": 7}}})";

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("m2bert_tokenizer_" + std::to_string(::getpid()) + "_" + std::to_string(counter_++))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  fs::path add(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }
  const fs::path& path() const { return path_; }

 private:
  static inline int counter_ = 0;
  fs::path path_;
};

using Ids = std::vector<int32_t>;

TEST(Load, VocabularyFile) {
  const Folder folder;
  const auto file = folder.add("vocab.txt", lines);
  EXPECT_EQ(WordPiece::from_file(file).encode("Hellos, café [MASK]").ids, (Ids{2, 5, 7, 8, 10, 4, 3}));
  LoadOptions cased;
  cased.lowercase = false;
  EXPECT_EQ(WordPiece::from_file(file, cased).encode("Hellos, café").ids, (Ids{2, 6, 7, 8, 9, 3}));
  EXPECT_EQ(WordPiece::from_vocabulary("[UNK]\r\n[CLS]\r\n[SEP]\r\na", "name").encode("a b").ids, (Ids{1, 3, 0, 2}));
}

TEST(Load, TokenizerJson) {
  const auto bert = WordPiece::from_json(json, "tokenizer.json");
  EXPECT_EQ(bert.encode("Hellos <new>[MASK]").ids, (Ids{2, 5, 7, 8, 4, 3}));
  EXPECT_EQ(bert.settings().max_length, 12u);
  EXPECT_EQ(bert.settings().pad_to, 16u);
  EXPECT_TRUE(bert.settings().pads);
  EXPECT_EQ(bert.vocab_size(), 9u);
  EXPECT_EQ(bert.token(8), "<new>");
  EXPECT_EQ(bert.id("<new>"), 8);
  EXPECT_EQ(bert.decode(Ids{5, 7, 8, 4}), "hellos <new>");
}

TEST(Load, FolderSettingsWin) {
  const Folder folder;
  EXPECT_THROW(WordPiece::from_file(folder.path()), Error);
  folder.add("vocab.txt", lines);
  EXPECT_EQ(WordPiece::from_file(folder.path()).encode("Hello").ids, (Ids{2, 5, 3}));
  folder.add("tokenizer_config.json", R"({"do_lower_case": false, "model_max_length": 512, "tokenizer_class": "BertTokenizer"})");
  EXPECT_EQ(WordPiece::from_file(folder.path()).encode("Hello").ids, (Ids{2, 6, 3}));
  EXPECT_EQ(WordPiece::from_file(folder.path()).settings().model_max_length, 512u);
  folder.add("tokenizer.json", json);
  EXPECT_EQ(WordPiece::from_file(folder.path()).encode("Hello <new>").ids, (Ids{2, 6, 8, 3}));
  folder.add("tokenizer_config.json", R"({"tokenizer_class": "RobertaTokenizer"})");
  EXPECT_THROW(WordPiece::from_file(folder.path()), Error);
}

// What the tokenizer of the folder says when it is loaded.
std::string error_of(const fs::path& folder) {
  try {
    WordPiece::from_file(folder);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Load, OldFilesOfAFolder) {
  const Folder folder;
  folder.add("vocab.txt", lines);
  folder.add("added_tokens.json", R"({"<b>": 12, "<a>": 11})");
  folder.add("special_tokens_map.json", R"({"cls_token": "hello", "additional_special_tokens": ["<x>"]})");
  folder.add("tokenizer_config.json", R"({"cls_token": "[CLS]", "max_len": 20, "truncation_side": "left"})");
  const auto bert = WordPiece::from_file(folder.path());
  EXPECT_EQ(bert.encode("<a><b> <x>").ids, (Ids{5, 11, 12, 13, 3}));
  EXPECT_EQ(bert.settings().model_max_length, 20u);
  EXPECT_EQ(bert.settings().truncation_side, TruncationSide::left);
  // added_tokens_decoder replaces both files.
  folder.add("tokenizer_config.json", R"({"added_tokens_decoder": {"11": {"content": "<b>"}}, "split_special_tokens": true})");
  EXPECT_EQ(WordPiece::from_file(folder.path()).encode("<b>[MASK]").ids, (Ids{2, 11, 1, 1, 1, 3}));
  folder.add("tokenizer_config.json", R"({"added_tokens_decoder": {"12": {"content": "<b>"}}})");
  EXPECT_NE(error_of(folder.path()).find("next free id is 11"), std::string::npos) << error_of(folder.path());
}

TEST(Load, FilesThatContradictEachOther) {
  const Folder folder;
  folder.add("tokenizer.json", json);
  folder.add("tokenizer_config.json", R"({"unk_token": "hello"})");
  EXPECT_NE(error_of(folder.path()).find("tokenizer_config.json:1: unk_token"), std::string::npos) << error_of(folder.path());
  folder.add("tokenizer_config.json", R"({"tokenizer_class": "BertJapaneseTokenizer"})");
  EXPECT_NE(error_of(folder.path()).find("BertJapaneseTokenizer"), std::string::npos) << error_of(folder.path());
  folder.add("tokenizer_config.json", R"({"model_input_names": ["input_ids"]})");
  EXPECT_NE(error_of(folder.path()).find("attention_mask"), std::string::npos) << error_of(folder.path());
  folder.add("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer"})");
  const std::string cased = with(json, "\"lowercase\": true", "\"lowercase\": false");
  folder.add("tokenizer.json", cased);
  EXPECT_EQ(WordPiece::from_file(folder.path()).encode("Hello").ids, (Ids{2, 5, 3})) << "lower case is the default of the class";
  folder.add("tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast"})");
  EXPECT_EQ(WordPiece::from_file(folder.path()).encode("Hello").ids, (Ids{2, 6, 3}));
}

TEST(Load, LowercaseBeforeTheNormalizer) {
  const std::string bert =
      R"({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true})";
  const std::string cased = with(bert, "\"lowercase\": true", "\"lowercase\": false");
  const auto sequence =
      WordPiece::from_json(with(json, bert, R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, )" + cased + "]}"), "x");
  EXPECT_EQ(sequence.encode("HELLO").ids, (Ids{2, 5, 3}));
  EXPECT_THROW(WordPiece::from_json(with(json, bert, R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})"), "x"), Error);
}

// Each error names the file and the problem.
void expect_error(const std::string& text, const std::string& part) {
  try {
    WordPiece::from_json(text, "tokenizer.json");
    FAIL() << "no error, wanted one with: " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("tokenizer.json"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Load, RefusesWhatIsNotBert) {
  expect_error(with(json, "\"type\": \"WordPiece\", \"unk", "\"type\": \"BPE\", \"unk"), "BPE");
  expect_error(with(json, "BertNormalizer", "NFKC"), "NFKC");
  expect_error(with(json, "BertPreTokenizer", "ByteLevel"), "ByteLevel");
  expect_error(with(json, "TemplateProcessing", "RobertaProcessing"), "RobertaProcessing");
  expect_error(with(json, "{\"type\": \"WordPiece\", \"prefix\"", "{\"type\": \"ByteLevel\", \"prefix\""), "ByteLevel");
  expect_error(with(json, "\"LongestFirst\"", "\"Random\""), "Random");
  expect_error(with(json, "{\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}", "{\"Sequence\": {\"id\": \"B\", \"type_id\": 0}}"), "[SEP]:1");
  expect_error(with(json, "\"ids\": [2]", "\"ids\": [5]"), "vocabulary");
}

TEST(Load, RefusesBrokenFiles) {
  expect_error("", "tokenizer.json");
  expect_error("[]", "tokenizer.json");
  expect_error("{}", "model");
  expect_error(with(json, "\"[UNK]\": 1", "\"[unknown]\": 1"), "[UNK]");
  expect_error(with(json, "\"hello\": 5", "\"hello\": 4"), "same id");
  expect_error(with(json, "\"hello\": 5", "\"hello\": 4000000000"), "hello");
  expect_error(with(json, "\"hello\": 5", "\"hello\": -1"), "hello");
  expect_error(with(json, "\"hello\": 5", "\"hello\": \"five\""), "hello");
  expect_error(with(json, "\"id\": 4,", "\"id\": 5,"), "[MASK]");
  expect_error(with(json, "\"id\": 8,", "\"id\": 5,"), "<new>");
  expect_error(with(json, "\"lowercase\": true", "\"lowercase\": \"yes\""), "lowercase");
  for (size_t size = 0; size < json.size(); size += 7) EXPECT_THROW(WordPiece::from_json(json.substr(0, size), "x"), Error) << size;
  EXPECT_THROW(WordPiece::from_vocabulary("", "empty"), Error);
  EXPECT_THROW(WordPiece::from_vocabulary("a\nb\n", "x"), Error);
  EXPECT_THROW(WordPiece::from_vocabulary("[UNK]\n", "x"), Error);
  EXPECT_THROW(WordPiece::from_vocabulary(lines + "\xFF\n", "x"), Error);
  EXPECT_THROW(WordPiece::from_file("/no/such/vocab.txt"), Error);
}

}  // namespace
}  // namespace m2bert::tokenize
