#include "m2bert/data/text_config.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"
#include "m2bert/io/checksum.h"
#include "m2bert/io/edit_distance.h"

namespace m2bert::data {
namespace {

using Names = std::vector<std::string>;

// How a stream is fetched; in the data set itself these are defaults for its streams.
const Names fetch_keys = {"remote", "local", "split", "download_retry", "download_timeout", "validate_hash", "keep_zip", "keep_raw"};
const Names weight_keys = {"proportion", "repeat", "samples", "choose"};
const Names data_keys = {
    "streams",    "tokenizer_name", "max_seq_len",     "shuffle", "shuffle_seed", "shuffle_algo", "shuffle_block_size", "samples_per_epoch",
    "epoch_size", "predownload",    "mlm_probability", "masking", "mask_seed",    "eos_token_id", "bos_token_id",       "skip_bad"};
const Names loader_keys = {"name", "dataset", "drop_last", "num_workers", "prefetch_factor", "timeout"};
// Ignored: they divide work between Python processes and copy into pinned memory, which threads of one process do not need.
// padding_multiple appears in upstream's recipes, but upstream does not read it.
const Names ignored_data_keys = {"num_canonical_nodes", "partition_algo", "padding_multiple"};
const Names ignored_loader_keys = {"pin_memory", "persistent_workers"};

Names joined(std::initializer_list<Names> lists) {
  Names all;
  for (const Names& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

void check_keys(const io::Tree& tree, const Names& known) {
  if (!tree.is_map()) tree.wants("a map");
  for (const io::Tree::Member* member : tree.unknown(known)) {
    const auto likely = io::nearest_name(member->key, known, std::max<size_t>(1, member->key.size() / 3));
    if (likely) fail(member->value.where(), "is not a setting of text data; did you mean ", *likely, "?");
    std::string names;
    for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
    fail(member->value.where(), "is not a setting of text data; there are ", names);
  }
}

void note_ignored(const io::Tree& tree, const Names& keys, Names& ignored) {
  for (const std::string& key : keys)
    if (const io::Tree* value = tree.find(key); value && !value->is_null()) ignored.push_back(value->path().empty() ? key : value->path());
}

// The stream's own setting, or else the data set's; nullptr if neither is set.
const io::Tree* setting(const io::Tree& stream, const io::Tree& data, const std::string& key) {
  const io::Tree* own = stream.find(key);
  if (own && !own->is_null()) return own;
  const io::Tree* shared = data.find(key);
  return shared && !shared->is_null() ? shared : nullptr;
}

double at_least_zero(const io::Tree& tree) {
  const double value = tree.number();
  if (!std::isfinite(value) || value < 0) tree.wants("a number of at least 0");
  return value;
}

MdsStreamConfig read_stream(const io::Tree& stream, const io::Tree& data) {
  MdsStreamConfig config;
  const auto text = [&](const char* key) {
    const io::Tree* value = setting(stream, data, key);
    return value ? value->string() : std::string();
  };
  config.remote = text("remote");
  config.local = text("local");
  config.split = text("split");
  if (config.remote.empty() && config.local.empty()) fail(stream.where(), "names no place of the data: set local, or remote");
  config.validate_hash = text("validate_hash");
  if (!config.validate_hash.empty() && !io::is_checksum(config.validate_hash))
    setting(stream, data, "validate_hash")->wants("the name of a hash, such as sha1 or xxh64");
  if (const io::Tree* retry = setting(stream, data, "download_retry"))
    config.fetch.attempts = static_cast<int>(retry->integer(0, 1000)) + 1;
  if (const io::Tree* timeout = setting(stream, data, "download_timeout")) {
    const double seconds = std::ceil(at_least_zero(*timeout));
    if (seconds < 1 || seconds > 86400) timeout->wants("seconds, above 0 and at most a day");
    config.fetch.timeout = std::chrono::seconds(static_cast<int64_t>(seconds));
  }
  if (const io::Tree* keep = setting(stream, data, "keep_zip")) config.keep_zip = keep->boolean();
  if (const io::Tree* keep = setting(stream, data, "keep_raw")) config.keep_raw = keep->boolean();
  return config;
}

StreamWeight read_weight(const io::Tree& stream, const std::string& name) {
  StreamWeight weight{.name = name};
  weight.proportion = stream.get_optional<double>("proportion");
  weight.repeat = stream.get_optional<double>("repeat");
  for (const char* key : {"samples", "choose"})
    if (const auto samples = stream.get_optional<uint64_t>(key)) weight.choose = samples;
  return weight;
}

void read_streams(const io::Tree& data, TextDataConfig& config) {
  const io::Tree* streams = data.find("streams");
  if (!streams || streams->is_null()) {
    config.streams.push_back({read_stream(data, data), {.name = data.path().empty() ? "dataset" : data.path()}});
    return;
  }
  if (!streams->is_map() || streams->size() == 0) streams->wants("a map of streams by name");
  for (const auto& [name, stream] : streams->members()) {
    check_keys(stream, joined({fetch_keys, weight_keys}));
    config.streams.push_back({read_stream(stream, data), read_weight(stream, stream.path().empty() ? name : stream.path())});
  }
}

void read_order(const io::Tree& data, TextDataConfig& config) {
  config.shuffle = data.get<bool>("shuffle", false);
  config.shuffle_seed = data.get<uint64_t>("shuffle_seed", config.shuffle_seed);
  config.shuffle_block_size = data.get<uint64_t>("shuffle_block_size", config.shuffle_block_size);
  if (config.shuffle_block_size == 0) data.at("shuffle_block_size").wants("at least 1");
  const auto algorithm = data.get<std::string>("shuffle_algo", "py1s");
  const Names known = {"naive", "py1s", "py2s", "py1b", "py1br", "py1e"};
  if (std::find(known.begin(), known.end(), algorithm) == known.end())
    data.at("shuffle_algo").wants("naive (all samples at once), or py1s, py2s, py1b, py1br or py1e (in blocks)");
  if (algorithm == "naive") config.shuffle_block_size = UINT64_MAX;
  for (const char* key : {"samples_per_epoch", "epoch_size"})
    if (const auto samples = data.get_optional<uint64_t>(key)) config.samples_per_epoch = samples;
  config.predownload = data.get<uint64_t>("predownload", config.predownload);
}

void read_masking(const io::Tree& data, TextDataConfig& config) {
  config.mlm_probability = data.get_optional<double>("mlm_probability");
  if (config.mlm_probability && !(*config.mlm_probability > 0 && *config.mlm_probability <= 1))
    data.at("mlm_probability").wants("a number above 0 and at most 1: without masked tokens there is nothing to learn");
  const auto masking = data.get<std::string>("masking", "random");
  if (masking == "every") config.masking = Masking::every;
  else if (masking == "given") config.masking = Masking::given;
  else if (masking != "random") data.at("masking").wants("random, every or given");
  config.mask_seed = data.get_optional<uint64_t>("mask_seed");
  config.eos_token_id = data.get_optional<int32_t>("eos_token_id");
  config.bos_token_id = data.get_optional<int32_t>("bos_token_id");
  if (config.eos_token_id && config.bos_token_id)
    fail(data.where(), "eos_token_id and bos_token_id are both set; set the one by which texts that were joined are told apart");
}

void read_loader(const io::Tree& loader, TextDataConfig& config) {
  config.drop_last = loader.get<bool>("drop_last", config.drop_last);
  if (const io::Tree* workers = loader.find("num_workers"); workers && !workers->is_null())
    config.num_workers = static_cast<int>(workers->integer(0, 4096));
  if (const io::Tree* ahead = loader.find("prefetch_factor"); ahead && !ahead->is_null())
    config.prefetch_factor = static_cast<int>(ahead->integer(1, 1 << 16));
  if (const io::Tree* timeout = loader.find("timeout"); timeout && !timeout->is_null()) config.timeout = at_least_zero(*timeout);
}

}  // namespace

TextDataConfig read_text_data_config(const io::Tree& loader) {
  check_keys(loader, joined({loader_keys, ignored_loader_keys}));
  if (const auto name = loader.get<std::string>("name", "text"); name != "text") loader.at("name").wants("text");
  const io::Tree& data = loader.at("dataset");
  check_keys(data, joined({fetch_keys, data_keys, ignored_data_keys}));
  TextDataConfig config;
  read_streams(data, config);
  config.max_seq_len = static_cast<int>(data.at("max_seq_len").integer(3, 1 << 24));
  read_order(data, config);
  read_masking(data, config);
  config.skip_bad = data.get<bool>("skip_bad", false);
  read_loader(loader, config);
  note_ignored(data, ignored_data_keys, config.without_meaning);
  note_ignored(loader, ignored_loader_keys, config.without_meaning);
  return config;
}

}  // namespace m2bert::data
