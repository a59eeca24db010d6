#include "m2bert/checkpoint/torch_index.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "m2bert/checkpoint/dtype.h"
#include "m2bert/checkpoint/pickle.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/checkpoint/zip_index.h"
#include "m2bert/error.h"

namespace m2bert::checkpoint {
namespace {

using pickle::Kind;
using pickle::Pickle;
using pickle::Ref;
using pickle::Value;

constexpr size_t most_depth = 200, most_dimensions = 64, most_listed = 10'000;
constexpr uint64_t most_visits = 2'000'000, most_tensors = 200'000, most_pickle_bytes = uint64_t{256} << 20, most_name = 4096;
constexpr size_t most_text = 200;  // bytes of a text among the scalars
constexpr std::string_view legacy_magic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);

std::string_view text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// A storage as the pickle names it, before it is found in the file.
struct NamedStorage {
  std::string key, dtype;
  uint64_t count = 0;  // values
  uint64_t first = 0;  // legacy views: where this view begins in the root storage, in values
};

// What a function of PyTorch or NumPy rebuilds, if its values are not read; empty for other functions.
std::string_view unread_tensor(std::string_view function) {
  constexpr std::pair<std::string_view, std::string_view> kinds[] = {
      {"torch._utils._rebuild_sparse_tensor", "a sparse tensor"},
      {"torch._utils._rebuild_sparse_csr_tensor", "a sparse tensor"},
      {"torch._utils._rebuild_nested_tensor", "a nested tensor"},
      {"torch.nested._internal.nested_tensor._rebuild_njt", "a nested tensor"},
      {"torch._utils._rebuild_meta_tensor_no_storage", "a tensor on the meta device, which has no values"},
      {"torch._utils._rebuild_device_tensor_from_cpu_tensor", "a tensor of another device"},
      {"torch._utils._rebuild_device_tensor_from_numpy", "a tensor of another device"},
      {"torch._utils._rebuild_xla_tensor", "a tensor of another device"},
      {"torch._utils._rebuild_mlc_tensor", "a tensor of another device"},
      {"numpy.core.multiarray._reconstruct", "a NumPy array"},
      {"numpy._core.multiarray._reconstruct", "a NumPy array"},
      {"numpy._core.numeric._frombuffer", "a NumPy array"},
      {"numpy.core.numeric._frombuffer", "a NumPy array"}};
  for (const auto& [name, kind] : kinds)
    if (name == function) return kind;
  return "";
}

// Walks a pickled object and collects its tensors.
class Collector {
 public:
  Collector(const Pickle& p, const std::string& name, uint64_t base) : pickle_(p), name_(name), base_(base) {}

  void run() { walk(pickle_.root, "", 0); }
  // Also the storages of skipped objects: the legacy format needs every storage's size to find the next one.
  void add_all_storages() {
    for (const Value& v : pickle_.values)
      if (v.kind == Kind::persistent) read_storage(v);
  }

  std::vector<TorchTensor> tensors;
  std::vector<NamedStorage> storages;  // parallel to the storage index of tensors
  std::vector<TorchObject> skipped;
  std::vector<std::pair<std::string, std::string>> scalars;

 private:
  template <class... Parts>
  void check(bool ok, const Value& v, const Parts&... parts) const {
    if (!ok) fail(name_, ": byte ", base_ + v.offset, ": ", parts...);
  }
  const Value& at(Ref r) const { return pickle_[r]; }

  void walk(Ref ref, const std::string& path, size_t depth) {
    const Value& v = at(ref);
    check(depth <= most_depth, v, "objects more than ", most_depth, " deep in one another (or in themselves)");
    check(++visits_ <= most_visits, v, "an object of more than ", most_visits, " parts");
    switch (v.kind) {
      case Kind::dict: return walk_dict(v, path, depth);
      case Kind::list:
      case Kind::tuple:
      case Kind::set:
        for (size_t i = 0; i < v.items.size(); ++i) walk(v.items[i], join(v, path, std::to_string(i)), depth + 1);
        return;
      case Kind::opaque: return walk_opaque(v, path, depth);
      case Kind::persistent:
        read_storage(v);  // a bare storage is checked and listed as skipped: it has no shape
        skip(path, "a storage without a tensor");
        return;
      case Kind::global: skip(path, v.text); return;
      default: return note_scalar(v, path);
    }
  }
  void note_scalar(const Value& v, const std::string& path) {
    if (scalars.size() >= most_listed || v.text.size() > most_text) return;
    if (v.kind == Kind::text) scalars.emplace_back(path, printable(v.text, most_text));
    if (v.kind == Kind::integer || v.kind == Kind::boolean) scalars.emplace_back(path, std::to_string(v.integer));
    if (v.kind == Kind::real) scalars.emplace_back(path, short_text(v.real));
  }
  static std::string short_text(double value) {
    char text[32];
    return {text, static_cast<size_t>(std::snprintf(text, sizeof text, "%.9g", value))};
  }
  void skip(const std::string& path, std::string_view what) {
    if (skipped.size() < most_listed) skipped.push_back({path, printable(what)});
  }
  // Every one is listed: a tensor that is left out must not pass unnoticed.
  void skip_tensor(const Value& v, const std::string& path, const std::string& what) {
    check(++unread_ <= most_tensors, v, "more than ", most_tensors, " tensors");
    skipped.push_back({path, what, true});
  }
  std::string join(const Value& v, const std::string& path, std::string_view key) const {
    check(path.size() + key.size() < most_name, v, "a name longer than ", most_name, " bytes");
    std::string out = path;
    if (!out.empty()) out += '.';
    return out.append(key);
  }
  std::string key_text(const Value& k) const {
    if (k.kind == Kind::text || k.kind == Kind::bytes) return printable(k.text, most_name);
    if (k.kind == Kind::integer || k.kind == Kind::boolean) return std::to_string(k.integer);
    return "<" + (k.kind == Kind::global || k.kind == Kind::opaque ? printable(k.text) : std::string("key")) + ">";
  }
  void walk_dict(const Value& v, const std::string& path, size_t depth) {
    // As in Python, a repeated key has its last value, at its first position.
    std::unordered_map<std::string, size_t> last;
    std::vector<std::pair<std::string, Ref>> members;
    for (size_t i = 0; i + 1 < v.items.size(); i += 2) {
      std::string key = key_text(at(v.items[i]));
      auto [it, added] = last.try_emplace(key, members.size());
      if (added) members.emplace_back(std::move(key), v.items[i + 1]);
      else members[it->second].second = v.items[i + 1];
    }
    for (const auto& [key, value] : members) walk(value, join(v, path, key), depth + 1);
  }

  void walk_opaque(const Value& v, const std::string& path, size_t depth) {
    const Value* call = &v;
    for (int hops = 0; hops < 4; ++hops) {  // Parameter wraps a tensor, a subclass wraps a function
      std::string_view f = call->text;
      auto args = arguments(*call);
      if (f == "torch._utils._rebuild_tensor" || f == "torch._utils._rebuild_tensor_v2") return add_tensor(*call, args, path, false);
      if (f == "torch._utils._rebuild_tensor_v3") return add_tensor(*call, args, path, true);
      if (f == "torch._utils._rebuild_qtensor") return add_tensor(*call, args, path, false, true);
      bool parameter = f == "torch._utils._rebuild_parameter" || f == "torch._utils._rebuild_parameter_with_state" ||
                       f == "torch.nn.parameter.Parameter";
      if (!parameter) break;
      check(!args.empty(), *call, printable(f), " without its tensor");
      const Value& inner = at(args[0]);
      check(inner.kind == Kind::opaque, inner, printable(f), " of something that is not a tensor");
      call = &inner;
    }
    if (call->text == "torch._tensor._rebuild_from_type_v2") return walk_subclass(*call, path);
    if (auto kind = unread_tensor(call->text); !kind.empty()) return skip_tensor(*call, path, std::string(kind));
    if (call->text == "torch._utils._rebuild_wrapper_subclass") return skip_wrapper(*call, path, first_argument(*call));
    skip(path, v.text);
    walk_states(v, path, depth);
  }
  // (function, class, arguments, state): the tensor that the function makes.
  void walk_subclass(const Value& v, const std::string& path) {
    auto args = arguments(v);
    check(args.size() == 4 && at(args[0]).kind == Kind::global && at(args[2]).kind == Kind::tuple, v,
          "_rebuild_from_type_v2 with other arguments than PyTorch writes");
    const std::string& f = at(args[0]).text;
    if (f == "torch._utils._rebuild_tensor_v2") return add_tensor(v, at(args[2]).items, path, false);
    if (f == "torch._utils._rebuild_tensor_v3") return add_tensor(v, at(args[2]).items, path, true);
    if (auto kind = unread_tensor(f); !kind.empty()) return skip_tensor(v, path, std::string(kind));
    skip_wrapper(v, path, at(args[1]));
  }
  // A class of tensors that wraps others: DTensor, quantised weights of torchao.
  void skip_wrapper(const Value& v, const std::string& path, const Value& cls) {
    skip_tensor(v, path, "a tensor of class " + printable(cls.kind == Kind::global ? cls.text : "unknown"));
  }
  // Whole pickled modules keep their weights in _parameters, _buffers and _modules of their state.
  void walk_states(const Value& v, const std::string& path, size_t depth) {
    for (size_t i = 1; i < v.items.size(); ++i) {
      const Value& state = at(v.items[i]);
      if (state.kind != Kind::dict) continue;
      for (size_t k = 0; k + 1 < state.items.size(); k += 2) {
        const Value& key = at(state.items[k]);
        bool part = key.text == "_parameters" || key.text == "_buffers" || key.text == "_modules";
        if (key.kind == Kind::text && part && at(state.items[k + 1]).kind == Kind::dict) walk(state.items[k + 1], path, depth + 1);
      }
    }
  }

  const std::vector<Ref>& arguments(const Value& call) const {
    check(!call.items.empty() && at(call.items[0]).kind == Kind::tuple, call, "a call without arguments");
    return at(call.items[0]).items;
  }
  const Value& first_argument(const Value& call) const {
    const auto& args = arguments(call);
    check(!args.empty(), call, printable(call.text), " without arguments");
    return at(args[0]);
  }
  int64_t integer(Ref r, const char* what) const {
    const Value& v = at(r);
    check(v.kind == Kind::integer, v, what, " that is not an integer");
    return v.integer;
  }
  uint64_t whole(Ref r, const char* what) const {
    int64_t i = integer(r, what);
    check(i >= 0, at(r), what, " of ", i);
    return static_cast<uint64_t>(i);
  }
  std::vector<int64_t> integers(Ref r, const char* what) const {
    const Value& v = at(r);
    check(v.kind == Kind::tuple || v.kind == Kind::list, v, what, " that is not a tuple");
    check(v.items.size() <= most_dimensions, v, what, " of ", v.items.size(), " dimensions");
    std::vector<int64_t> out;
    for (Ref i : v.items) out.push_back(static_cast<int64_t>(whole(i, what)));
    return out;
  }

  void add_tensor(const Value& v, const std::vector<Ref>& args, const std::string& path, bool v3, bool quantized = false) {
    check(args.size() >= (v3 ? 7u : 4u), v, "a tensor with ", args.size(), " arguments");
    const Value& id = at(args[0]);
    check(id.kind == Kind::persistent, id, "a tensor whose values are not a storage of the file");
    TorchTensor t;
    t.name = path.empty() ? "tensor" : path;
    t.storage = read_storage(id);
    const NamedStorage& s = storages[t.storage];
    t.dtype = v3 ? tensor_dtype(args[6]) : s.dtype;
    auto size = dtype_bytes(t.dtype);
    check(size.has_value(), v, "tensor '", path, "' has the unknown dtype ", t.dtype);
    t.itemsize = *size;
    t.first = whole(args[1], "a tensor's offset");
    t.shape = integers(args[2], "a tensor's shape");
    t.strides = integers(args[3], "a tensor's strides");
    check_range(v, t, s);
    if (const size_t metadata = v3 ? 7 : 6; args.size() > metadata && !quantized) read_bits(at(args[metadata]), t);
    check(names_.insert(t.name).second, v, "two tensors with the name '", t.name, "'");
    tensors.push_back(std::move(t));
    check(tensors.size() <= most_tensors, v, "more than ", most_tensors, " tensors");
  }
  // {'conj': True, 'neg': True}, of which either may be missing.
  void read_bits(const Value& metadata, TorchTensor& t) const {
    if (metadata.kind == Kind::none) return;
    check(metadata.kind == Kind::dict, metadata, "tensor '", t.name, "' has metadata that is not a dict");
    for (size_t i = 0; i + 1 < metadata.items.size(); i += 2) {
      const Value &key = at(metadata.items[i]), &value = at(metadata.items[i + 1]);
      check(key.text == "conj" || key.text == "neg", metadata, "tensor '", t.name, "' has the unknown metadata '", printable(key.text, 40),
            "'");
      check(value.kind == Kind::boolean, metadata, "tensor '", t.name, "' has metadata ", key.text, " that is not a bool");
      (key.text == "conj" ? t.conj : t.neg) = value.integer != 0;
    }
    check(!t.conj || t.dtype.starts_with("complex"), metadata, "tensor '", t.name, "' of ", t.dtype, " is a complex conjugate");
    const bool sign =
        t.dtype == "float16" || t.dtype == "bfloat16" || t.dtype == "float32" || t.dtype == "float64" || t.dtype.starts_with("complex");
    check(!t.neg || sign, metadata, "tensor '", t.name, "' of ", t.dtype, " is a lazy negative");
  }
  std::string tensor_dtype(Ref r) const {
    const Value& v = at(r);
    check(v.kind == Kind::global && v.text.starts_with("torch."), v, "a tensor's dtype that is not a torch.dtype");
    return printable(v.text.substr(6), 60);
  }
  // The last value of the view must be inside the storage.
  void check_range(const Value& v, TorchTensor& t, const NamedStorage& s) {
    check(t.shape.size() == t.strides.size(), v, "tensor '", t.name, "' has ", t.shape.size(), " dimensions and ", t.strides.size(),
          " strides");
    auto itemsize = static_cast<uint64_t>(t.itemsize);
    uint64_t held = s.count * static_cast<uint64_t>(*dtype_bytes(s.dtype)) / itemsize;
    uint64_t last = t.first, count = itemsize, step = 0;
    bool empty = std::find(t.shape.begin(), t.shape.end(), 0) != t.shape.end(), wraps = false;
    for (size_t i = 0; i < t.shape.size() && !empty; ++i) {
      auto n = static_cast<uint64_t>(t.shape[i]);
      wraps |= __builtin_mul_overflow(n - 1, static_cast<uint64_t>(t.strides[i]), &step) || __builtin_add_overflow(last, step, &last);
      wraps |= __builtin_mul_overflow(count, n, &count);
    }
    check(!wraps, v, "tensor '", t.name, "' has a shape or strides that overflow 64 bits");
    t.count = empty ? 0 : count / itemsize;
    check(empty ? t.first <= held : last < held, v, "tensor '", t.name, "' reaches beyond its storage '", s.key, "' of ", held, " values");
    // With a stride of 0, a few bytes stand for any number of values.
    bool expands = t.count > s.count && t.count * itemsize > (uint64_t{64} << 20) && t.count / 64 > s.count;
    check(!expands, v, "tensor '", t.name, "' of ", t.count, " values expands a storage of ", s.count);
    t.first += s.first;
  }

  // ('storage', class, key, location, count) and, in the legacy format, (view key, first, count) or None after it.
  size_t read_storage(const Value& persistent) {
    const Value& id = at(persistent.items[0]);
    check(id.kind == Kind::tuple && id.items.size() >= 5 && id.items.size() <= 6, id, "a persistent id that is not a storage");
    const Value& tag = at(id.items[0]);
    check((tag.kind == Kind::text || tag.kind == Kind::bytes) && tag.text == "storage", id, "a persistent id that is not a storage");
    const Value& cls = at(id.items[1]);
    check(cls.kind == Kind::global, cls, "a storage without a class");
    const Value& key = at(id.items[2]);
    check((key.kind == Kind::text || key.kind == Kind::bytes) && !key.text.empty() && key.text.size() < 200, key,
          "a storage without a key");
    auto dtype = storage_dtype(cls.text);
    check(dtype.has_value(), cls, "a storage of the unknown class ", printable(cls.text));
    NamedStorage s{printable(key.text), *dtype, whole(id.items[4], "a storage's length"), 0};
    check(multiply(s.count, static_cast<uint64_t>(*dtype_bytes(s.dtype))).has_value(), id, "a storage of ", s.count, " values");
    if (id.items.size() == 6) read_view(at(id.items[5]), s);
    storages.push_back(s);
    return storages.size() - 1;
  }
  void read_view(const Value& view, NamedStorage& s) {
    if (view.kind == Kind::none) return;
    check(view.kind == Kind::tuple && view.items.size() == 3, view, "a storage's view that is not a tuple of 3");
    uint64_t first = whole(view.items[1], "a view's offset"), count = whole(view.items[2], "a view's length");
    check(first <= s.count && count <= s.count - first, view, "a view of values ", first, " to ", first, "+", count, " of a storage of ",
          s.count);
    views_root_count.emplace(storages.size(), s.count);
    s.first = first;
    s.count = count;
  }

 public:
  std::unordered_map<size_t, uint64_t> views_root_count;  // legacy views: values of the root storage

 private:
  const Pickle& pickle_;
  const std::string& name_;
  uint64_t base_;
  uint64_t visits_ = 0, unread_ = 0;
  std::unordered_set<std::string> names_;
};

// Points every tensor to the file's storage with its key.
void link(TorchIndex& index, Collector& c, const std::unordered_map<std::string, size_t>& by_key, const std::string& name) {
  for (size_t i = 0; i < c.storages.size(); ++i) {
    const auto& s = c.storages[i];
    auto it = by_key.find(s.key);
    require(it != by_key.end(), name, ": storage '", s.key, "' is named but not in the file");
    auto view = c.views_root_count.find(i);
    uint64_t count = view == c.views_root_count.end() ? s.count : view->second;
    uint64_t wanted = count * static_cast<uint64_t>(*dtype_bytes(s.dtype));
    const auto& found = index.storages[it->second];
    require(found.bytes == wanted, name, ": byte ", found.offset, ": storage '", s.key, "' has ", found.bytes, " bytes where ", count,
            " values of ", s.dtype, " want ", wanted);
  }
  for (auto& t : c.tensors) t.storage = by_key.at(c.storages[t.storage].key);
  index.tensors = std::move(c.tensors);
  index.skipped = std::move(c.skipped);
  index.scalars = std::move(c.scalars);
}

// ---- the zip format ----

std::string_view bytes_of(std::span<const std::byte> file, const ZipEntry& e) {
  return text_of(file.subspan(static_cast<size_t>(e.offset), static_cast<size_t>(e.size)));
}

// "archive/" of "archive/data.pkl".
std::string archive_prefix(const std::vector<ZipEntry>& entries, const std::string& name) {
  std::string prefix;
  size_t found = 0;
  for (const auto& e : entries) {
    bool pickle = e.name == "data.pkl" || (e.name.ends_with("/data.pkl") && std::count(e.name.begin(), e.name.end(), '/') == 1);
    if (pickle) prefix = e.name.substr(0, e.name.size() - 8), ++found;
  }
  if (found == 0) {
    bool word = std::any_of(entries.begin(), entries.end(), [](auto& e) { return e.name == "[Content_Types].xml"; });
    bool numpy = !entries.empty() && entries.front().name.ends_with(".npy");
    fail(name, ": a zip archive without data.pkl: not a PyTorch file", word ? " (an Office document?)" : numpy ? " (NumPy's .npz?)" : "");
  }
  require(found == 1, name, ": a zip archive with ", found, " data.pkl: not a PyTorch file");
  return prefix;
}

void check_marks(std::span<const std::byte> file, const std::vector<ZipEntry>& entries, const std::string& prefix,
                 const std::string& name) {
  for (const auto& e : entries) {
    if (e.name == prefix + "byteorder") {
      auto order = bytes_of(file, e);
      require(order != "big", name, ": written on a big-endian machine; load and save it with PyTorch on a little-endian one");
      require(order == "little", name, ": byte ", e.offset, ": byteorder is '", printable(order, 20), "', wants 'little'");
    }
    if (e.name == prefix + "version" || e.name == prefix + ".data/version") {
      auto text = bytes_of(file, e);
      int version = 0;
      auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
      bool clean = error == std::errc() && (end == text.data() + text.size() || *end == '\n');
      require(clean && version >= 1 && version <= 10, name, ": byte ", e.offset, ": version '", printable(text, 20),
              "' of PyTorch's file format is unknown (1 to 10 are supported)");
    }
  }
}

TorchIndex read_zip(std::span<const std::byte> file, const std::string& name) {
  auto entries = read_zip_index(file, name);
  std::string prefix = archive_prefix(entries, name);
  check_marks(file, entries, prefix, name);
  TorchIndex index;
  index.format = "PyTorch zip";
  std::unordered_map<std::string, size_t> by_key;
  const ZipEntry* data = nullptr;
  for (const auto& e : entries) {
    if (e.name == prefix + "data.pkl") data = &e;
    if (!e.name.starts_with(prefix + "data/")) continue;
    std::string key = e.name.substr(prefix.size() + 5);
    by_key.emplace(key, index.storages.size());
    index.storages.push_back({key, e.offset, e.size, e.crc});
  }
  require(data->size <= most_pickle_bytes, name, ": data.pkl of ", data->size, " bytes; the limit is ", most_pickle_bytes);
  auto bytes = file.subspan(static_cast<size_t>(data->offset), static_cast<size_t>(data->size));
  require(crc32(0, bytes.data(), bytes.size()) == data->crc, name, ": byte ", data->offset, ": data.pkl is damaged (checksum differs)");
  Pickle p = pickle::read(bytes, name, data->offset);
  require(p.end == bytes.size(), name, ": byte ", data->offset + p.end, ": bytes after the end of data.pkl's object");
  Collector c(p, name, data->offset);
  c.run();
  link(index, c, by_key, name);
  return index;
}

// ---- the legacy format (before PyTorch 1.6) ----

class Legacy {
 public:
  Legacy(std::span<const std::byte> file, const std::string& name) : file_(file), name_(name) {}

  TorchIndex run() {
    check_head();
    uint64_t object_at = pos_;
    Pickle object = next();
    uint64_t keys_at = pos_;
    Pickle keys = next();
    TorchIndex index;
    index.format = "PyTorch legacy";
    Collector c(object, name_, object_at);
    c.run();
    c.add_all_storages();
    auto by_key = read_storages(index, c, keys, keys_at);
    require(pos_ == file_.size(), name_, ": byte ", pos_, ": ", file_.size() - pos_, " bytes after the last storage");
    link(index, c, by_key, name_);
    return index;
  }

 private:
  Pickle next() {
    uint64_t base = pos_;
    auto rest = file_.subspan(static_cast<size_t>(base));
    Pickle p = pickle::read(rest.first(static_cast<size_t>(std::min<uint64_t>(rest.size(), most_pickle_bytes))), name_, base);
    pos_ += p.end;
    return p;
  }
  void check_head() {
    Pickle magic = next();
    require(magic[magic.root].text == legacy_magic, name_, ": byte 0: not PyTorch's magic number");
    uint64_t at = pos_;
    Pickle version = next();
    const Value& v = version[version.root];
    require(v.kind == Kind::integer && v.integer == 1001, name_, ": byte ", at, ": a protocol of PyTorch's legacy format other than 1001");
    at = pos_;
    Pickle system = next();
    const Value& s = system[system.root];
    require(s.kind == Kind::dict, name_, ": byte ", at, ": the description of the machine is not a dict");
    for (size_t i = 0; i + 1 < s.items.size(); i += 2) {
      const Value& value = system[s.items[i + 1]];
      if (system[s.items[i]].text == "little_endian")
        require(value.kind == Kind::boolean && value.integer == 1, name_,
                ": written on a big-endian machine; load and save it with PyTorch on a little-endian one");
    }
  }
  // Each storage: int64 count, then the values; in the order of the key list.
  std::unordered_map<std::string, size_t> read_storages(TorchIndex& index, const Collector& c, const Pickle& keys, uint64_t keys_at) {
    const Value& list = keys[keys.root];
    require(list.kind == Kind::list, name_, ": byte ", keys_at, ": the list of storages is not a list");
    std::unordered_map<std::string, uint64_t> itemsize;
    for (const auto& s : c.storages) itemsize.emplace(s.key, static_cast<uint64_t>(*dtype_bytes(s.dtype)));
    std::unordered_map<std::string, size_t> by_key;
    for (Ref ref : list.items) {
      const Value& k = keys[ref];
      require(k.kind == Kind::text || k.kind == Kind::bytes, name_, ": byte ", keys_at + k.offset, ": a storage key that is not text");
      std::string key = printable(k.text);
      auto known = itemsize.find(key);
      require(known != itemsize.end(), name_, ": byte ", keys_at + k.offset, ": storage '", key,
              "' belongs to no tensor, so its size is not known");
      require(by_key.emplace(key, index.storages.size()).second, name_, ": byte ", keys_at + k.offset, ": storage '", key,
              "' occurs twice");
      index.storages.push_back(read_storage(key, known->second));
    }
    return by_key;
  }
  TorchStorage read_storage(const std::string& key, uint64_t itemsize) {
    require(file_.size() - pos_ >= 8, name_, ": byte ", pos_, ": storage '", key, "' is missing (truncated?)");
    uint64_t count = 0;
    for (size_t i = 8; i-- > 0;) count = count << 8 | static_cast<uint8_t>(file_[static_cast<size_t>(pos_) + i]);
    auto bytes = multiply(count, itemsize);
    uint64_t left = file_.size() - pos_ - 8;
    require(bytes && *bytes <= left, name_, ": byte ", pos_, ": storage '", key, "' of ", count, " values where ", left,
            " bytes are left (truncated?)");
    TorchStorage s{key, pos_ + 8, *bytes, std::nullopt};
    pos_ += 8 + *bytes;
    return s;
  }

  std::span<const std::byte> file_;
  const std::string& name_;
  uint64_t pos_ = 0;
};

bool starts(std::span<const std::byte> file, std::string_view text, size_t at = 0) {
  return file.size() >= at + text.size() && std::memcmp(file.data() + at, text.data(), text.size()) == 0;
}

// The magic number is a pickle of its own; protocol 2 writes it as LONG1.
bool is_legacy(std::span<const std::byte> file) {
  return file.size() > 15 && static_cast<uint8_t>(file[0]) == 0x80 && static_cast<uint8_t>(file[1]) <= 5 &&
         text_of(file.first(std::min<size_t>(file.size(), 32))).find(legacy_magic) != std::string_view::npos;
}

bool is_safetensors(std::span<const std::byte> file) {
  if (file.size() < 9) return false;
  uint64_t length = 0;
  for (size_t i = 8; i-- > 0;) length = length << 8 | static_cast<uint8_t>(file[i]);
  return static_cast<char>(file[8]) == '{' && length < (uint64_t{1} << 40);
}

}  // namespace

bool TorchTensor::contiguous() const {
  uint64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && static_cast<uint64_t>(strides[i]) != step) return count == 0;
    step *= static_cast<uint64_t>(shape[i]);
  }
  return true;
}

FileKind file_kind(std::span<const std::byte> file) {
  if (looks_like_zip(file)) return FileKind::torch_zip;
  if (is_legacy(file)) return FileKind::torch_legacy;
  if (is_safetensors(file)) return FileKind::safetensors;
  return FileKind::unknown;
}

std::string describe_unknown(std::span<const std::byte> file) {
  if (file.empty()) return "the file is empty";
  if (starts(file, "ustar", 257)) return "a tar archive (PyTorch before 0.1.10); load and save it with PyTorch";
  if (starts(file, "version https://git-lfs")) return "a pointer of Git LFS, not the file itself; run `git lfs pull`";
  if (starts(file, "\x1f\x8b")) return "a gzip file; unpack it first";
  if (starts(file, "\x28\xb5\x2f\xfd")) return "a zstd file; unpack it first";
  if (starts(file, "\x89HDF")) return "an HDF5 file (TensorFlow or Keras)";
  if (starts(file, "GGUF")) return "a GGUF file";
  if (starts(file, "\x93NUMPY")) return "a NumPy array";
  if (starts(file, "<!DOCTYPE") || starts(file, "<html")) return "an HTML page (a failed download?)";
  if (starts(file, "PK\5\6")) return "an empty zip archive";
  if (static_cast<uint8_t>(file[0]) == 0x80) return "a plain pickle, not written by torch.save";
  if (file[0] == std::byte{'{'}) return "JSON text";
  size_t head = std::min<size_t>(file.size(), 64);
  bool zeros = std::all_of(file.begin(), file.begin() + static_cast<ptrdiff_t>(head), [](std::byte b) { return b == std::byte{0}; });
  return zeros ? "it begins with zeros (an incomplete download?)"
               : "it begins with '" + printable(text_of(file.first(std::min<size_t>(head, 16)))) + "'";
}

TorchIndex read_torch_index(std::span<const std::byte> file, const std::string& name) {
  FileKind kind = file_kind(file);
  if (kind == FileKind::torch_zip) return read_zip(file, name);
  if (kind == FileKind::torch_legacy) return Legacy(file, name).run();
  fail(name, ": not a PyTorch file: ", describe_unknown(file));
}

}  // namespace m2bert::checkpoint
