#include "m2bert/models/config.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "m2bert/checkpoint/folder_fields.h"
#include "m2bert/checkpoint/quantize.h"
#include "m2bert/error.h"
#include "m2bert/io/log.h"

namespace m2bert::models {

namespace {

constexpr double kMaxSize = 1 << 24;  // larger than any real layer; products of sizes still fit into int

// Names every field once: v(name, member, smallest, largest) for numbers, v(name, member) for the rest.
template <class C, class V>
void visit_fields(C& c, V&& v) {
  v("vocab_size", c.vocab_size, 1, kMaxSize);
  v("hidden_size", c.hidden_size, 1, kMaxSize / 16);
  v("num_hidden_layers", c.num_hidden_layers, 1, 1000);
  v("num_attention_heads", c.num_attention_heads, 1, 65536);
  v("intermediate_size", c.intermediate_size, 1, kMaxSize / 16);
  v("hidden_act", c.hidden_act);
  v("hidden_dropout_prob", c.hidden_dropout_prob, 0, 0.999);
  v("attention_probs_dropout_prob", c.attention_probs_dropout_prob, 0, 0.999);
  v("classifier_dropout", c.classifier_dropout, 0, 0.999);
  v("max_position_embeddings", c.max_position_embeddings, 1, kMaxSize);
  v("type_vocab_size", c.type_vocab_size, 1, 65536);
  v("initializer_range", c.initializer_range, 0, 100);
  v("layer_norm_eps", c.layer_norm_eps, 0, 1);
  v("pad_token_id", c.pad_token_id, 0, kMaxSize);
  v("position_embedding_type", c.position_embedding_type);
  v("alibi_starting_size", c.alibi_starting_size, 0, kMaxSize);
  v("use_positional_encodings", c.use_positional_encodings);
  v("use_glu_mlp", c.use_glu_mlp);
  v("use_monarch_mlp", c.use_monarch_mlp);
  v("monarch_mlp_nblocks", c.monarch_mlp_nblocks, 1, 65536);
  v("monarch_mixer_sequence_mixing", c.monarch_mixer_sequence_mixing);
  v("residual_long_conv", c.residual_long_conv);
  v("bidirectional", c.bidirectional);
  v("hyena_training_additions", c.hyena_training_additions);
  v("long_conv_l_max", c.long_conv_l_max, 1, kMaxSize);
  v("long_conv_kernel_learning_rate", c.long_conv_kernel_learning_rate, 0, 1e6);
  v("hyena_lr_pos_emb", c.hyena_lr_pos_emb, 0, 1e6);
  v("hyena_w", c.hyena_w, -1e6, 1e6);
  v("hyena_wd", c.hyena_wd, 0, 1e6);
  v("hyena_emb_dim", c.hyena_emb_dim, 3, 65535);
  v("hyena_w_mod", c.hyena_w_mod, -1e6, 1e6);
  v("hyena_filter_dropout", c.hyena_filter_dropout, 0, 1);
  v("hyena_filter_order", c.hyena_filter_order, 1, 65536);
  v("use_flash_mm", c.use_flash_mm);
  v("use_flash_fft", c.use_flash_fft);
  v("mask_padding", c.mask_padding);
  v("pool_all", c.pool_all);
  v("attention_pooling", c.attention_pooling);
  v("use_cls_token", c.use_cls_token);
  v("use_normalized_embeddings", c.use_normalized_embeddings);
  v("gather_sentence_embeddings", c.gather_sentence_embeddings);
  v("sequence_token_planting", c.sequence_token_planting);
  v("sequence_token_planting_pooling", c.sequence_token_planting_pooling);
  v("expand_positional_embeddings", c.expand_positional_embeddings);
  v("num_labels", c.num_labels, 1, 1e6);
  v("problem_type", c.problem_type);
  v("performing_BEIR_evaluation", c.performing_BEIR_evaluation);
  v("use_learnable_monarch", c.use_learnable_monarch);
  v("pretrained_checkpoint", c.pretrained_checkpoint);
  v("precision", c.precision);
  v("max_seq_len", c.max_seq_len, 1, kMaxSize);
  v("tie_word_embeddings", c.tie_word_embeddings);
}

// Fields of Transformers that would change the result. Each has the one value that is supported; null and absent mean it too.
struct FixedField {
  const char* name;
  bool (*supported)(const io::Tree& value);
  const char* wants;
};

bool is_false(const io::Tree& value) { return value.is_bool() && !value.boolean(); }
bool is_empty(const io::Tree& value) { return (value.is_map() || value.is_list()) && value.size() == 0; }
bool is_bert_tokenizer(const io::Tree& value) {
  const std::string& name = value.string();
  const bool bert = name.find("Bert") != std::string::npos && name.find("Japanese") == std::string::npos;
  return bert || name == "PreTrainedTokenizerFast" || name == "TokenizersBackend" || name == "ElectraTokenizer" ||
         name == "ElectraTokenizerFast";
}

// Ours, which convert writes for int8 weights so that Transformers refuses them.
bool is_own_int8(const io::Tree& value) {
  const io::Tree* format = value.find("format");
  return is_empty(value) || (value.size() == 1 && format && format->is_string() && format->string() == checkpoint::int8_format);
}

constexpr FixedField kFixedFields[] = {
    {"is_decoder", is_false, "false: decoders, in which a token sees only those before it, are not supported"},
    {"is_encoder_decoder", is_false, "false: only encoders are supported"},
    {"add_cross_attention", is_false, "false: cross attention is not supported"},
    {"pruned_heads", is_empty, "no heads: models with pruned heads are not supported"},
    {"per_layer_config", is_empty, "no settings: layers that differ are not supported"},
    {"quantization_config", is_own_int8,
     "no quantization: save the model in float32, float16 or bfloat16 (convert --dtype int8 quantizes it)"},
    {"compression_config", is_empty, "no compression: save the model in float32, float16 or bfloat16"},
    {"tokenizer_class", is_bert_tokenizer, "BertTokenizer: only BERT's WordPiece is supported"},
};

void check_fixed_fields(const io::Tree& map) {
  for (const FixedField& field : kFixedFields) {
    const io::Tree* value = map.find(field.name);
    if (value && !value->is_null() && !field.supported(*value)) value->wants(field.wants);
  }
}

// Copies each field of the map into the config, after checking type and range.
class Reader {
 public:
  explicit Reader(const io::Tree& map) : map_(map) {}

  void operator()(const char* name, bool& field) {
    take(name, [&](const io::Tree& v) { field = v.boolean(); });
  }
  void operator()(const char* name, std::string& field) {
    take(name, [&](const io::Tree& v) { field = v.string(); });
  }
  void operator()(const char* name, std::optional<std::string>& field) {
    take(name, [&](const io::Tree& v) { field = v.string(); });
  }
  void operator()(const char* name, int& field, double low, double high) {
    take(name, [&](const io::Tree& v) { field = int(v.integer(int64_t(low), int64_t(high))); });
  }
  void operator()(const char* name, std::optional<int>& field, double low, double high) {
    take(name, [&](const io::Tree& v) { field = int(v.integer(int64_t(low), int64_t(high))); });
  }
  void operator()(const char* name, double& field, double low, double high) {
    take(name, [&](const io::Tree& v) { field = in_range(v, low, high); });
  }
  void operator()(const char* name, std::optional<double>& field, double low, double high) {
    take(name, [&](const io::Tree& v) { field = in_range(v, low, high); });
  }

  const std::set<std::string, std::less<>>& names() const { return names_; }

 private:
  template <class F>
  void take(const char* name, F&& use) {
    names_.insert(name);
    const io::Tree* value = map_.find(name);
    if (!value || value->is_null()) return;  // an empty value in a recipe means its default
    // In upstream's embedding recipe num_labels refers to a field that its script sets.
    if (value->kind() == io::Tree::Kind::missing && std::string_view(name) == "num_labels") return;
    use(*value);
  }
  static double in_range(const io::Tree& v, double low, double high) {
    const double x = v.number();
    if (!(x >= low && x <= high)) {
      std::ostringstream want;
      want << "a number from " << low << " to " << high;
      v.wants(want.str());
    }
    return x;
  }

  const io::Tree& map_;
  std::set<std::string, std::less<>> names_;
};

class Writer {
 public:
  explicit Writer(io::Tree& map) : map_(map) {}
  template <class T, class... Range>
  void operator()(const char* name, const T& field, Range...) {
    map_.set(name, io::Tree(field));
  }
  template <class T, class... Range>
  void operator()(const char* name, const std::optional<T>& field, Range...) {
    if (field) map_.set(name, io::Tree(*field));
  }

 private:
  io::Tree& map_;
};

// Reports an error at the field if it was given, else at the map.
[[noreturn]] void wants(const io::Tree& map, const char* field, const std::string& what) {
  if (const io::Tree* value = map.find(field); value && !value->is_null()) value->wants(what);
  fail(map.where(), field, " is missing: wants ", what);
}

void check(const Config& c, const io::Tree& map) {
  auto ensure = [&](bool ok, const char* field, const std::string& what) {
    if (!ok) wants(map, field, what);
  };
  static const std::set<std::string> activations = {"gelu",          "gelu_python", "gelu_new", "gelu_fast", "gelu_pytorch_tanh",
                                                    "gelu_accurate", "relu",        "silu",     "swish",     "tanh"};
  ensure(activations.contains(c.hidden_act), "hidden_act",
         "one of gelu, gelu_python, gelu_new, gelu_fast, gelu_pytorch_tanh, gelu_accurate, relu, silu, swish, tanh");
  ensure(c.position_embedding_type == "absolute", "position_embedding_type", "\"absolute\" (relative positions are not supported)");
  ensure(!c.problem_type || *c.problem_type == "regression" || *c.problem_type == "single_label_classification" ||
             *c.problem_type == "multi_label_classification",
         "problem_type", "regression, single_label_classification or multi_label_classification");
  ensure(c.sequence_token_planting_pooling == "row" || c.sequence_token_planting_pooling == "reference", "sequence_token_planting_pooling",
         "row or reference");
  ensure(!c.mask_padding || !c.sequence_token_planting || c.sequence_token_planting_pooling == "row", "sequence_token_planting_pooling",
         "row with mask_padding: reference sums over all texts of a batch");
  ensure(c.pad_token_id < c.vocab_size, "pad_token_id", "an id below vocab_size " + std::to_string(c.vocab_size));
  ensure(!c.use_flash_mm, "use_flash_mm",
         "false: the fused CUDA mixer keeps its parameters in another layout; the plain mixer computes the same mathematics here");
  if (!c.monarch_mixer_sequence_mixing) {
    ensure(c.hidden_size % c.num_attention_heads == 0, "num_attention_heads", "a divisor of hidden_size " + std::to_string(c.hidden_size));
    return;
  }
  ensure(c.long_conv_l_max.has_value(), "long_conv_l_max", "the maximum sequence length in tokens, an integer of at least 1");
  ensure(c.long_conv_kernel_learning_rate.has_value(), "long_conv_kernel_learning_rate", "a number (1e-3 in upstream's recipes)");
  ensure(c.hyena_lr_pos_emb.has_value(), "hyena_lr_pos_emb", "a number (1e-5 in upstream's recipes; 0 freezes the positions)");
  ensure(c.hyena_w.has_value(), "hyena_w", "a number (10 in upstream's recipes)");
  ensure(c.hyena_wd.has_value(), "hyena_wd", "a number (0.1 in upstream's recipes)");
  ensure(c.hyena_emb_dim.has_value() && *c.hyena_emb_dim % 2 == 1, "hyena_emb_dim", "an odd integer of at least 3");
}

void warn_unknown(const io::Tree& map) {
  std::string names;
  for (const auto& name : Config::unknown_fields(map)) names += (names.empty() ? "" : ", ") + name;
  if (!names.empty()) io::warn(map.location() + ": unknown model config fields, ignored: " + names);
}

// id2label {"0": "NEGATIVE", ...} as a list; the names must cover 0 .. n-1.
std::vector<std::string> read_labels(const io::Tree& map) {
  const io::Tree* names = map.find("id2label");
  if (!names || names->is_null()) return {};
  std::vector<std::string> labels(names->size());
  std::set<size_t> seen;
  for (const auto& member : names->members()) {
    size_t id = labels.size();
    if (!member.key.empty() && member.key.size() <= 7 && std::ranges::all_of(member.key, [](char ch) { return ch >= '0' && ch <= '9'; })) {
      id = size_t(std::stoul(member.key));
    }
    if (id >= labels.size() || !seen.insert(id).second) member.value.wants("ids from 0 to the number of labels - 1, each once");
    labels[id] = member.value.string();
  }
  return labels;
}

void read_fields(Config& c, const io::Tree& map) {
  Reader reader(map);
  visit_fields(c, reader);
  check_fixed_fields(map);
  c.labels = read_labels(map);
  const io::Tree* given = map.find("num_labels");
  c.num_labels_given = !c.labels.empty() || (given && !given->is_null() && !given->is_missing());
  if (!c.labels.empty()) {
    const io::Tree* count = map.find("num_labels");
    if (!count || count->is_null()) c.num_labels = int(c.labels.size());
    if (c.num_labels != int(c.labels.size())) map.at("id2label").wants("num_labels = " + std::to_string(c.num_labels) + " names");
  }
  warn_unknown(map);
}

Config from_recipe(const io::Tree& tree, const io::Tree& model) {
  Config c;
  const auto name = model.get<std::string>("name", "bert");
  if (name == "hf_bert") {
    c.family = Family::hf_bert;
    c.attention_probs_dropout_prob = 0.1;
  } else if (name != "bert" && name != "mosaic_bert") {
    model.at("name").wants("bert, mosaic_bert or hf_bert");
  }
  const auto base = model.get<std::string>("pretrained_model_name", "bert-base-uncased");
  if (base != "bert-base-uncased")
    model.at("pretrained_model_name").wants("bert-base-uncased, whose config is built in, or null: model_config then says everything");
  c.tokenizer_name = model.get<std::string>("tokenizer_name", base);

  const io::Tree* fields = model.find("model_config");
  const io::Tree none = io::Tree::map();
  const io::Tree& map = fields && !fields->is_null() ? *fields : none;
  if (!map.is_map()) map.wants("a map of model config fields");
  read_fields(c, map);
  for (const io::Tree* level : {&tree, &model}) {  // fields that upstream's scripts read outside model_config
    if (auto n = level->find("num_labels"); n && n->is_integer() && !map.contains("num_labels")) {
      c.num_labels = int(n->integer(1, 1000000));
      c.num_labels_given = true;
    }
    if (auto p = level->find("problem_type"); p && p->is_string() && !map.contains("problem_type")) c.problem_type = p->string();
    if (auto l = level->find("max_seq_len"); l && !l->is_null()) c.max_seq_len = int(l->integer(1, int64_t(kMaxSize)));
  }
  if (c.family == Family::m2) c.vocab_size = (c.vocab_size + 7) / 8 * 8;  // as in upstream's create_bert_mlm
  check(c, map);
  return c;
}

Config from_config_json(const io::Tree& map) {
  Config c;
  const bool mixer = map.get<bool>("monarch_mixer_sequence_mixing", false);
  const bool upstream_fields = mixer || map.contains("alibi_starting_size") || map.contains("use_glu_mlp");
  if (!upstream_fields) {
    const auto type = map.get<std::string>("model_type", "bert");
    if (type != "bert") map.at("model_type").wants("bert (for M2-BERT, set monarch_mixer_sequence_mixing)");
    c.family = Family::hf_bert;
    c.attention_probs_dropout_prob = 0.1;
  }
  read_fields(c, map);
  check(c, map);
  return c;
}

}  // namespace

Config Config::from_tree(const io::Tree& tree) {
  if (!tree.is_map()) tree.wants("a map: a recipe with model.model_config, or a config.json");
  const io::Tree* model = tree.find("model");
  return model && model->is_map() ? from_recipe(tree, *model) : from_config_json(tree);
}

std::vector<std::string> Config::fields() {
  const io::Tree none = io::Tree::map();
  Config c;
  Reader known(none);
  visit_fields(c, known);
  return {known.names().begin(), known.names().end()};
}

std::vector<std::string> Config::unknown_fields(const io::Tree& map) {
  const auto known = fields();
  std::vector<std::string> names;
  for (const auto& member : map.members()) {
    const bool fixed = std::ranges::any_of(kFixedFields, [&](const FixedField& f) { return f.name == member.key; });
    const bool read = std::ranges::count(known, member.key) > 0 || member.key == "id2label" || member.key == "model_type";
    if (!read && !fixed && !checkpoint::is_harmless("config.json", member.key)) names.push_back(member.key);
  }
  return names;
}

io::Tree Config::to_tree() const {
  io::Tree tree = io::Tree::map();
  tree.set("model_type", "bert");
  if (family == Family::hf_bert) {  // upstream's fields would make it an M2 model when read back
    io::Tree all = io::Tree::map();
    Writer writer(all);
    visit_fields(*this, writer);
    for (const char* name : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
                             "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "max_position_embeddings",
                             "type_vocab_size", "initializer_range", "layer_norm_eps", "pad_token_id", "position_embedding_type",
                             "num_labels", "problem_type", "max_seq_len", "tie_word_embeddings"}) {
      if (const io::Tree* value = all.find(name)) tree.set(name, *value);
    }
  } else {
    Writer writer(tree);
    visit_fields(*this, writer);
  }
  if (!num_labels_given && num_labels == Config().num_labels) tree.as_map().erase("num_labels");
  if (!labels.empty()) {
    io::Tree names = io::Tree::map(), ids = io::Tree::map();
    for (size_t i = 0; i < labels.size(); ++i) {
      names.set(std::to_string(i), labels[i]);
      ids.set(labels[i], int(i));
    }
    tree.set("id2label", names);
    tree.set("label2id", ids);  // Transformers does not derive it from id2label
  }
  return tree;
}

bool Config::padding_is_masked() const { return family == Family::hf_bert || !monarch_mixer_sequence_mixing || mask_padding; }

int Config::max_length() const {
  if (monarch_mixer_sequence_mixing)
    return use_positional_encodings ? std::min(*long_conv_l_max, max_position_embeddings) : *long_conv_l_max;
  return max_position_embeddings;
}

int Config::default_length() const { return std::min(max_seq_len.value_or(max_length()), max_length()); }

std::string Config::summary() const {
  std::ostringstream text;
  text << (family == Family::hf_bert       ? "BERT (Hugging Face)"
           : monarch_mixer_sequence_mixing ? (mask_padding ? "M2-BERT (Monarch Mixer, padding masked)" : "M2-BERT (Monarch Mixer)")
                                           : "BERT (ALiBi attention)")
       << ", " << num_hidden_layers << " layers, hidden " << hidden_size << ", up to " << max_length() << " tokens";
  return text.str();
}

}  // namespace m2bert::models
