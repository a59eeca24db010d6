#include "m2bert/data/dataset_builder.h"

#include <algorithm>
#include <chrono>

#include "m2bert/data/dataset_output.h"
#include "m2bert/data/staging_folder.h"
#include "m2bert/data/validation_sampler.h"
#include "m2bert/error.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/inner_path.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos; }

// Truncates to that many code points. Returns whether the text was longer.
bool truncate(std::string& text, uint64_t chars) {
  if (text.size() <= chars) return false;
  uint64_t count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool first = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (!first || count++ < chars) continue;
    text.resize(i);
    return true;
  }
  return false;
}

// The documents without blank ones, truncated and counted.
class FilteredDocuments {
 public:
  explicit FilteredDocuments(const BuildOptions& options) : options_(options), documents_(options.inputs, options.documents) {}

  bool next(std::string& text) {
    while (options_.limit == 0 || counts_.documents < options_.limit) {
      if (!read(text)) return false;
      if (is_blank(text)) {
        ++counts_.empty;
      } else {
        if (options_.max_chars > 0 && truncate(text, options_.max_chars)) ++counts_.cut;
        ++counts_.documents;
        return true;
      }
    }
    return false;
  }

  const BuildCounts& counts() const { return counts_; }
  const std::string& first_bad() const { return documents_.first_skipped(); }
  std::optional<double> fraction() const {
    const auto read = documents_.fraction();
    if (options_.limit == 0) return read;
    return std::max(read.value_or(0), static_cast<double>(counts_.documents) / static_cast<double>(options_.limit));
  }

  io::Tree state() const {
    const DocumentPosition at = documents_.position();
    return {{"input", at.input},
            {"record", at.inside.record},
            {"offset", at.inside.offset},
            {"line", at.inside.line},
            {"documents", counts_.documents},
            {"empty", counts_.empty},
            {"bad", counts_.bad},
            {"cut", counts_.cut}};
  }
  void restore(const io::Tree& state) {
    const auto number = [&](const char* key) { return state.at(key).as<uint64_t>(); };
    documents_.skip_to({number("input"), {number("record"), number("offset"), number("line")}});
    counts_ = {number("documents"), number("empty"), number("bad"), number("cut")};
    bad_before_ = counts_.bad;
  }

 private:
  bool read(std::string& text) {
    const bool there = documents_.next(text);
    counts_.bad = bad_before_ + documents_.skipped();
    return there;
  }

  const BuildOptions& options_;
  Documents documents_;
  BuildCounts counts_;
  uint64_t bad_before_ = 0;  // of an earlier run
};

// Writes the documents of one split as samples.
class Split {
 public:
  Split(std::string name, const StagingFolder& part, const MdsFormat& format, const BuildOptions& options,
        const tokenize::WordPiece& tokenizer)
      : name_(std::move(name)), format_(format), output_(part.staged(name_), part.staged(name_ + ".pending"), format, options.threads) {
    if (options.tokens) packer_.emplace(tokenizer, *options.tokens);
  }

  void add_text(std::string text) { output_.add(encode_mds_sample(format_, {std::move(text)}, "a document")); }
  void add_tokens(std::span<const int32_t> ids) {
    packer_->add(ids, [&](std::string&& sample) { output_.add(encode_mds_sample(format_, {std::move(sample)}, "a sample")); });
  }

  io::Tree save() {
    io::Tree state = output_.save();
    if (packer_) state.set("waiting", io::Tree::list({packer_->waiting().begin(), packer_->waiting().end()}));
    return state;
  }
  void saved() { output_.saved(); }
  void restore(const io::Tree& state) {
    output_.restore(state);
    if (packer_) packer_->restore(state.at("waiting").as<std::vector<int32_t>>());
  }

  BuiltSplit finish() {
    require(output_.samples() > 0, "there are no samples for ", name_,
            packer_ ? "; the documents are fewer tokens than one sample" : "; the documents are too few, or all empty or passed over");
    BuiltSplit built{.name = name_};
    for (const MdsShardInfo& shard : output_.finish().shards) {
      built.samples += shard.samples;
      built.bytes += shard.raw.bytes;
      built.packed_bytes += shard.packed ? shard.packed->bytes : 0;
      ++built.shards;
    }
    return built;
  }
  uint64_t tokens_waiting() const { return packer_ ? packer_->waiting().size() : 0; }

 private:
  std::string name_;
  MdsFormat format_;
  DatasetOutput output_;
  std::optional<TokenPacker> packer_;
};

MdsFormat full_format(const BuildOptions& options) {
  MdsFormat format = options.format;
  format.columns = {options.tokens ? MdsColumn{"tokens", "bytes", {}} : MdsColumn{"text", "str", {}}};
  return mds_format(format);
}

bool has_validation(const BuildOptions& options) { return options.val_fraction > 0 || options.val_count > 0; }

std::vector<std::string> split_names(const BuildOptions& options) {
  std::vector<std::string> names = {options.split};
  if (has_validation(options)) names.push_back(options.val_split);
  for (const std::string& name : names) {
    const bool plain = io::why_unsafe(name).empty() && name.find('/') == std::string::npos;
    require(plain, "'", io::printable(name), "' is no name for a folder of the data set");
  }
  require(names.front() != names.back() || names.size() == 1, "training and validation data need different names, both are ",
          options.split);
  return names;
}

// Identifies an input file: path, size and modification time.
io::Tree input_tree(const fs::path& input) {
  std::error_code failed;
  const auto changed = fs::last_write_time(input, failed);
  if (!can_reread(input) || failed) return {{"file", input.string()}};
  return {{"file", fs::absolute(input).string()},
          {"bytes", static_cast<uint64_t>(fs::file_size(input))},
          {"changed", static_cast<int64_t>(changed.time_since_epoch().count())}};
}

std::string vocabulary_hash(const tokenize::WordPiece& tokenizer) {
  io::Hasher hasher;
  for (size_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const auto number = static_cast<int32_t>(id);
    if (tokenizer.has(number)) hasher.update(std::to_string(id) + " " + std::string(tokenizer.token(number)) + "\n");
  }
  return hasher.hash128();
}

// Everything that the output depends on.
io::Tree settings_of(const BuildOptions& options, const tokenize::WordPiece& tokenizer) {
  io::Tree inputs = io::Tree::list(), hashes = io::Tree::list(), tokens;
  for (const fs::path& input : options.inputs) inputs.push_back(input_tree(input));
  for (const std::string& hash : options.format.hashes) hashes.push_back(hash);
  if (options.tokens)
    tokens = {{"length", options.tokens->length}, {"bos_text", options.tokens->bos_text},     {"eos_text", options.tokens->eos_text},
              {"wrap", options.tokens->wrap},     {"vocabulary", vocabulary_hash(tokenizer)}, {"lowercase", tokenizer.lowercase()}};
  return {{"inputs", inputs},
          {"format", static_cast<int>(options.documents.source.format)},
          {"field", options.documents.source.field},
          {"delimiter", options.documents.source.delimiter},
          {"whole_files", options.documents.whole_files},
          {"max_chars", options.max_chars},
          {"limit", options.limit},
          {"skip_bad", options.documents.source.skip_bad},
          {"val_fraction", options.val_fraction},
          {"val_count", options.val_count},
          {"seed", options.seed},
          {"compression", options.format.compression},
          {"hashes", hashes},
          {"shard_size", options.format.size_limit.value_or(0)},
          {"tokens", tokens}};
}

void check(const BuildOptions& options) {
  require(!options.inputs.empty(), "there are no documents to build a data set of");
  require(options.val_fraction == 0 || options.val_count == 0, "the validation data is given by a fraction and by a count; choose one");
  for (const fs::path& input : options.inputs) {
    if (can_reread(input)) continue;
    const std::string name = input == "-" ? "standard input" : input.string();
    require(options.val_count == 0, name,
            ": a number of validation documents needs to read the input twice, which a pipe cannot; give a fraction, or a file");
    require(!options.resume, name, ": a pipe cannot be read again, so there is nothing to go on with; give a file");
  }
}

uint64_t count_documents(const BuildOptions& options) {
  FilteredDocuments documents(options);
  for (std::string text; documents.next(text);) io::throw_if_interrupted();
  return documents.counts().documents;
}

class Builder {
 public:
  Builder(const BuildOptions& options, const tokenize::WordPiece& tokenizer)
      : options_(options),
        tokenizer_(tokenizer),
        documents_(options),
        folder_(options.out, split_names(options), settings_of(options, tokenizer), {options.resume, options.overwrite, {"skip_bad"}}) {
    if (folder_.complete()) return;
    const MdsFormat format = full_format(options);
    for (const std::string& name : split_names(options))
      splits_.push_back(std::make_unique<Split>(name, folder_, format, options, tokenizer));
    if (options.val_fraction > 0) validation_ = ValidationSampler::by_fraction(options.val_fraction, options.seed);
    if (options.val_count > 0) validation_ = ValidationSampler::by_count(options.val_count, count_documents(options), options.seed);
    if (folder_.saved()) restore(*folder_.saved());
  }

  BuildResult run() {
    if (folder_.complete()) return {.was_complete = true};
    while (options_.tokens ? tokens_step() : text_step()) {
      if (options_.progress) options_.progress(documents_.counts(), documents_.fraction());
      if (io::interrupted()) stop();
      if (since_saved() >= options_.save_seconds) save();
    }
    return finish();
  }

 private:
  // Adds one document. Returns false at the end.
  bool text_step() {
    if (!documents_.next(text_)) return false;
    split_of_last().add_text(std::move(text_));
    return true;
  }

  // Adds a batch of documents, large enough for several tokenizer threads.
  bool tokens_step() {
    std::vector<std::string> texts;
    std::vector<Split*> owners;
    for (size_t bytes = 0; bytes < options_.tokenize_bytes && documents_.next(text_);) {
      bytes += text_.size();
      owners.push_back(&split_of_last());
      texts.push_back(std::move(text_));
    }
    const auto encodings = tokenizer_.encode_batch(texts, {.add_special_tokens = false}, options_.threads);
    for (size_t i = 0; i < encodings.size(); ++i) owners[i]->add_tokens(encodings[i].ids);
    return !texts.empty();
  }

  Split& split_of_last() { return *splits_[validation_(documents_.counts().documents - 1) ? 1 : 0]; }

  double since_saved() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - saved_at_).count(); }

  void save() {
    io::Tree states = io::Tree::list();
    for (const auto& split : splits_) states.push_back(split->save());
    folder_.save({{"documents", documents_.state()}, {"splits", states}});
    for (const auto& split : splits_) split->saved();
    saved_at_ = std::chrono::steady_clock::now();
  }

  void restore(const io::Tree& state) {
    try {
      documents_.restore(state.at("documents"));
      const auto& states = state.at("splits").items();
      require(states.size() == splits_.size(), "it tells of ", states.size(), " folders");
      for (size_t i = 0; i < splits_.size(); ++i) splits_[i]->restore(states[i]);
    } catch (const Error& e) {
      if (io::interrupted()) throw;
      fail("cannot go on from ", folder_.state_file().string(), ": ", e.what(), ". If that stays so, --overwrite starts anew");
    }
  }

  [[noreturn]] void stop() {
    const bool piped = !std::all_of(options_.inputs.begin(), options_.inputs.end(), can_reread);
    if (!piped) save();
    try {
      io::throw_if_interrupted();
    } catch (const Error& e) {
      fail(e.what(), " after ", documents_.counts().documents, " documents",
           piped ? "" : "; the same command with --resume goes on from there");
    }
    fail("stopped");
  }

  BuildResult finish() {
    BuildResult result{.counts = documents_.counts(), .first_bad = documents_.first_bad()};
    io::Tree summary = {
        {"documents", result.counts.documents}, {"empty", result.counts.empty}, {"bad", result.counts.bad}, {"cut", result.counts.cut}};
    for (const auto& split : splits_) {
      result.tokens_lost += split->tokens_waiting();
      result.splits.push_back(split->finish());
      summary.set(result.splits.back().name, {{"samples", result.splits.back().samples}, {"shards", result.splits.back().shards}});
    }
    folder_.finish(summary);
    return result;
  }

  const BuildOptions& options_;
  const tokenize::WordPiece& tokenizer_;
  FilteredDocuments documents_;
  StagingFolder folder_;
  std::vector<std::unique_ptr<Split>> splits_;  // training, validation
  ValidationSampler validation_;
  std::string text_;
  std::chrono::steady_clock::time_point saved_at_ = std::chrono::steady_clock::now();
};

}  // namespace

BuildResult build_dataset(const BuildOptions& options, const tokenize::WordPiece& tokenizer) {
  check(options);
  return Builder(options, tokenizer).run();
}

}  // namespace m2bert::data
