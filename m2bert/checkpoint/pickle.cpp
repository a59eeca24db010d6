#include "m2bert/checkpoint/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>
#include <unordered_map>

#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"

namespace m2bert::checkpoint::pickle {
namespace {

constexpr std::string_view harmful_modules[] = {
    "os",      "posix",      "nt",      "subprocess", "_posixsubprocess", "pty",     "commands", "popen2",
    "runpy",   "webbrowser", "ctypes",  "_ctypes",    "socket",           "_socket", "shutil",   "code",
    "codeop",  "pdb",        "bdb",     "timeit",     "cProfile",         "profile", "trace",    "importlib",
    "imp",     "zipimport",  "sys",     "pip",        "pickle",           "_pickle", "cPickle",  "marshal",
    "asyncio", "pydoc",      "httplib", "urllib",     "requests",         "ftplib",  "smtplib",  "aiohttp"};
constexpr std::string_view harmful_builtins[] = {"eval",    "exec",    "execfile", "compile", "open",     "__import__",
                                                 "globals", "locals",  "vars",     "input",   "apply",    "breakpoint",
                                                 "file",    "setattr", "delattr",  "reload",  "raw_input"};
// Without builtins.getattr: Python 3.11 wrote enum members with it, and a name alone does nothing here.
// Functions of torch and numpy that run code or read other files.
constexpr std::string_view harmful_names[] = {"torch.load",
                                              "torch.jit.load",
                                              "torch.hub.load",
                                              "torch.hub.load_state_dict_from_url",
                                              "torch.serialization.load",
                                              "torch.utils.cpp_extension.load",
                                              "torch.utils.cpp_extension.load_inline",
                                              "torch.package.PackageImporter",
                                              "numpy.load",
                                              "numpy.fromfile",
                                              "numpy.core.multiarray.fromfile",
                                              "numpy.testing._private.utils.runstring",
                                              "joblib.load",
                                              "joblib._memmapping_reducer.reduce_memmap",
                                              "operator.attrgetter",
                                              "operator.methodcaller",
                                              "_operator.attrgetter",
                                              "_operator.methodcaller",
                                              "io.open",
                                              "_io.open"};

template <size_t N>
bool contains(const std::string_view (&list)[N], std::string_view text) {
  return std::find(std::begin(list), std::end(list), text) != std::end(list);
}

bool is_identifier_path(std::string_view text) {
  if (text.empty() || text.size() > 1000) return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > ' ' && c != 127; });
}

// Python's names of the containers that this reader rebuilds itself, from no argument or from an iterable.
enum class Known { no, dict, list, tuple, set };
Known known_container(std::string_view global) {
  if (global == "collections.OrderedDict" || global == "builtins.dict" || global == "__builtin__.dict") return Known::dict;
  if (global == "builtins.list" || global == "__builtin__.list") return Known::list;
  if (global == "torch.Size" || global == "builtins.tuple" || global == "__builtin__.tuple") return Known::tuple;
  if (global == "builtins.set" || global == "__builtin__.set" || global == "builtins.frozenset" || global == "__builtin__.frozenset")
    return Known::set;
  return Known::no;
}

class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& name, uint64_t base, const Limits& limits)
      : bytes_(bytes), name_(name), base_(base), limits_(limits) {}

  Pickle run() {
    while (!stopped_) {
      at_ = pos_;
      step(u8());
      check(stack_.size() <= limits_.stack, "more than ", limits_.stack, " values on the stack");
    }
    pickle_.end = pos_;
    return std::move(pickle_);
  }

 private:
  // ---- errors and input ----
  template <class... Parts>
  [[noreturn]] void bad(const Parts&... parts) const {
    fail(name_, ": byte ", base_ + at_, ": bad pickle: ", parts...);
  }
  template <class... Parts>
  void check(bool ok, const Parts&... parts) const {
    if (!ok) bad(parts...);
  }

  std::string_view take(uint64_t n) {
    check(n <= bytes_.size() - pos_, "wants ", n, " bytes where ", bytes_.size() - pos_, " are left (truncated?)");
    std::string_view out(reinterpret_cast<const char*>(bytes_.data()) + pos_, static_cast<size_t>(n));
    pos_ += static_cast<size_t>(n);
    return out;
  }
  uint8_t u8() { return static_cast<uint8_t>(take(1)[0]); }
  uint64_t little(int n) {
    auto text = take(static_cast<uint64_t>(n));
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; --i) v = v << 8 | static_cast<uint8_t>(text[static_cast<size_t>(i)]);
    return v;
  }
  uint64_t length4_signed() {
    auto n = static_cast<int32_t>(little(4));
    check(n >= 0, "negative length ", n);
    return static_cast<uint64_t>(n);
  }
  std::string_view line() {
    const char* start = reinterpret_cast<const char*>(bytes_.data()) + pos_;
    const void* end = std::memchr(start, '\n', bytes_.size() - pos_);
    check(end != nullptr, "a line without an end (truncated?)");
    auto n = static_cast<size_t>(static_cast<const char*>(end) - start);
    pos_ += n + 1;
    return {start, n};
  }

  // ---- values ----
  Ref make(Kind kind) {
    check(pickle_.values.size() < limits_.values, "more than ", limits_.values, " values");
    auto& v = pickle_.values.emplace_back();
    v.kind = kind;
    v.offset = at_;
    return static_cast<Ref>(pickle_.values.size() - 1);
  }
  Value& at(Ref ref) { return pickle_.values[ref]; }
  void push(Ref ref) { stack_.push_back(ref); }
  void push_int(int64_t v, Kind kind = Kind::integer) {
    Ref r = make(kind);
    at(r).integer = v;
    push(r);
  }
  void push_real(double v) {
    Ref r = make(Kind::real);
    at(r).real = v;
    push(r);
  }
  void push_text(std::string_view v, Kind kind) {
    if (kind == Kind::text) check(surrogates_only(v), "text that is not UTF-8");
    Ref r = make(kind);
    at(r).text.assign(v);
    push(r);
  }
  void push_items(Kind kind, std::vector<Ref> items) {
    count_items(items.size());
    Ref r = make(kind);
    at(r).items = std::move(items);
    push(r);
  }
  void count_items(size_t n) {
    items_ += n;
    check(items_ <= limits_.items, "containers with more than ", limits_.items, " items together");
  }
  void add_items(Ref to, std::span<const Ref> items) {
    count_items(items.size());
    auto& dest = at(to).items;
    dest.insert(dest.end(), items.begin(), items.end());
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Ref pop() {
    check(stack_.size() > floor(), "takes a value from an empty stack");
    Ref r = stack_.back();
    stack_.pop_back();
    return r;
  }
  Ref top() const {
    check(stack_.size() > floor(), "looks at an empty stack");
    return stack_.back();
  }
  std::vector<Ref> pop_mark() {
    check(!marks_.empty(), "wants a mark, but there is none");
    size_t from = marks_.back();
    marks_.pop_back();
    std::vector<Ref> items(stack_.begin() + static_cast<ptrdiff_t>(from), stack_.end());
    stack_.resize(from);
    return items;
  }
  void put(uint64_t key) {
    check(memo_.size() < limits_.values, "more than ", limits_.values, " remembered values");
    memo_[key] = top();
  }
  void get(uint64_t key) {
    auto it = memo_.find(key);
    check(it != memo_.end(), "asks for memo value ", key, ", which was never stored");
    push(it->second);
  }
  uint64_t decimal_key(std::string_view text) {
    uint64_t key = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), key);
    check(error == std::errc() && end == text.data() + text.size(), "bad memo key '", printable(text, 40), "'");
    return key;
  }

  // ---- numbers ----
  void push_little_endian(std::string_view text) {
    if (text.size() <= 8) {
      uint64_t v = 0;
      for (size_t i = text.size(); i-- > 0;) v = v << 8 | static_cast<uint8_t>(text[i]);
      if (!text.empty() && text.size() < 8 && (text.back() & 0x80)) v |= ~uint64_t{0} << (8 * text.size());
      push_int(static_cast<int64_t>(v));
    } else {
      push_text(text, Kind::long_integer);
    }
  }
  void push_decimal(std::string_view text, bool is_long) {
    if (!is_long && text == "00") return push_int(0, Kind::boolean);
    if (!is_long && text == "01") return push_int(1, Kind::boolean);
    if (is_long && !text.empty() && text.back() == 'L') text.remove_suffix(1);
    int64_t v = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
    if (error == std::errc::result_out_of_range) {  // never compared: kept as text
      push_text(text.substr(0, 10'000), Kind::long_integer);
      return;
    }
    check(error == std::errc() && end == text.data() + text.size(), "bad number '", printable(text, 40), "'");
    push_int(v);
  }
  void push_decimal_real(std::string_view text) {
    double v = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
    check((error == std::errc() || error == std::errc::result_out_of_range) && end == text.data() + text.size(), "bad number '",
          printable(text, 40), "'");
    push_real(v);
  }
  void push_quoted(std::string_view text) {
    bool quoted = text.size() >= 2 && text.front() == text.back() && (text.front() == '\'' || text.front() == '"');
    check(quoted, "a string without quotes");
    push_text(text.substr(1, text.size() - 2), Kind::bytes);
  }

  // ---- names and calls, which are never executed ----
  Ref global(std::string_view module, std::string_view name) {
    check(is_identifier_path(module) && is_identifier_path(name), "bad class name '", printable(module, 60), ".", printable(name, 60), "'");
    if (harmful(module, name))
      bad("it asks for ", printable(module, 100), ".", printable(name, 100), ", which can run code: the file is refused. Nothing was run");
    Ref r = make(Kind::global);
    at(r).text.assign(module).append(".").append(name);
    return r;
  }
  Ref opaque(Ref callee, Ref arguments) {
    Ref r = make(Kind::opaque);
    const Value& c = at(callee);
    at(r).text = c.kind == Kind::global ? c.text : c.kind == Kind::opaque ? c.text + "()" : "a value that is not a class";
    if (at(r).text.size() > 2000) at(r).text.resize(2000);
    count_items(1);
    at(r).items.push_back(arguments);
    return r;
  }
  // OrderedDict([(k, v), ...]), set([...]) and such, if Python would accept the argument; nullopt otherwise.
  std::optional<Ref> container(Known known, const std::vector<Ref>& arguments) {
    if (arguments.size() > 1) return std::nullopt;
    Kind kinds[] = {Kind::none, Kind::dict, Kind::list, Kind::tuple, Kind::set};
    std::vector<Ref> items;
    if (!arguments.empty()) {
      const Value& from = at(arguments[0]);
      bool sequence = from.kind == Kind::list || from.kind == Kind::tuple || from.kind == Kind::set;
      if (known == Known::dict && from.kind == Kind::dict) {
        items = from.items;
      } else if (!sequence) {
        return std::nullopt;
      } else if (known == Known::dict) {
        for (Ref pair : from.items) {
          const Value& p = at(pair);
          if ((p.kind != Kind::tuple && p.kind != Kind::list) || p.items.size() != 2) return std::nullopt;
          items.insert(items.end(), p.items.begin(), p.items.end());
        }
      } else {
        items = from.items;
      }
    }
    count_items(items.size());
    Ref r = make(kinds[static_cast<int>(known)]);
    at(r).items = std::move(items);
    return r;
  }
  void call(Ref callee, Ref arguments) {
    check(at(arguments).kind == Kind::tuple, "calls something with arguments that are not a tuple");
    Known known = at(callee).kind == Kind::global ? known_container(at(callee).text) : Known::no;
    if (known != Known::no) {
      std::vector<Ref> given = at(arguments).items;
      if (auto r = container(known, given)) return push(*r);
    }
    if (at(callee).kind == Kind::global && at(callee).text == "collections.defaultdict") return push(make(Kind::dict));
    push(opaque(callee, arguments));
  }
  void new_object(bool keywords) {
    Ref kwargs = keywords ? pop() : 0;
    Ref arguments = pop();
    Ref cls = pop();
    check(at(cls).kind == Kind::global, "makes an object of something that is not a class");
    check(at(arguments).kind == Kind::tuple, "makes an object with arguments that are not a tuple");
    check(!keywords || at(kwargs).kind == Kind::dict, "makes an object with keywords that are not a dict");
    call(cls, arguments);
    if (keywords && at(top()).kind == Kind::opaque) add_items(top(), std::span(&kwargs, 1));
  }
  void build() {
    Ref state = pop();
    Ref object = top();
    Kind kind = at(object).kind;
    bool takes_state = kind == Kind::opaque || kind == Kind::dict || kind == Kind::list || kind == Kind::set;
    check(takes_state, "sets the state of something that is not an object");
    if (kind == Kind::opaque) add_items(object, std::span(&state, 1));  // an OrderedDict's attributes (state_dict's _metadata) are dropped
  }
  void append(Ref list, std::span<const Ref> items) {
    Kind kind = at(list).kind;
    check(kind == Kind::list || kind == Kind::opaque, "appends to something that is not a list");
    if (kind == Kind::list) add_items(list, items);
  }
  void set_items(Ref dict, std::span<const Ref> items) {
    Kind kind = at(dict).kind;
    check(kind == Kind::dict || kind == Kind::opaque, "sets an item of something that is not a dict");
    check(items.size() % 2 == 0, "sets an odd number of keys and values");
    for (size_t i = 0; i < items.size(); i += 2) check(hashable(items[i]), "a key that is a list, dict or set");
    if (kind == Kind::dict) add_items(dict, items);
  }
  bool hashable(Ref r) { return at(r).kind != Kind::list && at(r).kind != Kind::dict && at(r).kind != Kind::set; }
  void persistent(Ref id) {
    // The legacy format writes ('module', class, source file, source) instead of a class.
    const auto& parts = at(id).items;
    bool module = at(id).kind == Kind::tuple && parts.size() == 4 && at(parts[0]).text == "module" && at(parts[1]).kind == Kind::global;
    if (module) return push(parts[1]);
    Ref r = make(Kind::persistent);
    count_items(1);
    at(r).items.push_back(id);
    push(r);
  }

  void step(uint8_t op);
  void step_text(uint8_t op);
  void step_binary(uint8_t op);
  void stop() {
    Ref root = pop();
    check(marks_.empty() && stack_.empty(), "ends with values left on the stack");
    pickle_.root = root;
    stopped_ = true;
  }
  void protocol() {
    int version = u8();
    check(version <= 5, "protocol ", version, ", the newest known is 5");
  }
  void frame() {
    uint64_t n = little(8);
    check(n <= bytes_.size() - pos_, "a frame of ", n, " bytes where ", bytes_.size() - pos_, " are left (truncated?)");
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  uint64_t base_;
  const Limits& limits_;
  size_t pos_ = 0, at_ = 0, items_ = 0;
  bool stopped_ = false;
  std::vector<Ref> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, Ref> memo_;
  Pickle pickle_;
};

// Opcodes that move values; the others are in step_text (protocol 0, lines) and step_binary (literals).
void Machine::step(uint8_t op) {
  switch (op) {
    case 0x80: return protocol();
    case 0x95: return frame();
    case '.': return stop();
    case '(':
      check(marks_.size() < limits_.marks, "more than ", limits_.marks, " marks nested in one another");
      return marks_.push_back(stack_.size());
    case '0':
      if (stack_.size() > floor()) return stack_.pop_back();
      check(!marks_.empty(), "takes a value from an empty stack");
      return marks_.pop_back();
    case '1': pop_mark(); return;
    case '2': return push(top());
    case ']': return push_items(Kind::list, {});
    case '}': return push_items(Kind::dict, {});
    case ')': return push_items(Kind::tuple, {});
    case 0x8f: return push_items(Kind::set, {});
    case 't': return push_items(Kind::tuple, pop_mark());
    case 'l': return push_items(Kind::list, pop_mark());
    case 0x91: return push_items(Kind::set, pop_mark());
    case 'd': {
      auto items = pop_mark();
      Ref r = make(Kind::dict);
      set_items(r, items);
      return push(r);
    }
    case 0x85:
    case 0x86:
    case 0x87: {
      std::vector<Ref> items(static_cast<size_t>(op - 0x84));
      for (size_t i = items.size(); i-- > 0;) items[i] = pop();
      return push_items(Kind::tuple, std::move(items));
    }
    case 'a': {
      Ref item = pop();
      return append(top(), std::span(&item, 1));
    }
    case 'e': {
      auto items = pop_mark();
      return append(top(), items);
    }
    case 's': {
      Ref pair[2];
      pair[1] = pop();
      pair[0] = pop();
      return set_items(top(), pair);
    }
    case 'u': {
      auto items = pop_mark();
      return set_items(top(), items);
    }
    case 0x90: {
      auto items = pop_mark();
      check(at(top()).kind == Kind::set || at(top()).kind == Kind::opaque, "adds to something that is not a set");
      if (at(top()).kind == Kind::set) add_items(top(), items);
      return;
    }
    case 'R': {
      Ref arguments = pop();
      Ref callee = pop();
      check(at(callee).kind == Kind::global || at(callee).kind == Kind::opaque, "calls something that is not a function");
      return call(callee, arguments);
    }
    case 0x81: return new_object(false);
    case 0x92: return new_object(true);
    case 'o': {
      auto items = pop_mark();
      check(!items.empty() && at(items[0]).kind == Kind::global, "makes an object of something that is not a class");
      Ref arguments = make(Kind::tuple);
      add_items(arguments, std::span(items).subspan(1));
      return call(items[0], arguments);
    }
    case 'b': return build();
    case 'Q': return persistent(pop());
    case 0x93: {
      Ref name = pop();
      Ref module = pop();
      check(at(name).kind == Kind::text && at(module).kind == Kind::text, "a class name that is not text");
      std::string m = at(module).text, n = at(name).text;
      return push(global(m, n));
    }
    case 'h': return get(u8());
    case 'j': return get(little(4));
    case 'q': return put(u8());
    case 'r': return put(little(4));
    case 0x94: return put(memo_.size());
    case 0x82:
    case 0x83:
    case 0x84: bad("an extension code, which names a class only known to the program that wrote it");
    case 0x97:
    case 0x98: bad("out-of-band buffers, which a file cannot hold");
    default: return step_text(op);
  }
}

void Machine::step_text(uint8_t op) {
  switch (op) {
    case 'I': return push_decimal(line(), false);
    case 'L': return push_decimal(line(), true);
    case 'F': return push_decimal_real(line());
    case 'S': return push_quoted(line());
    case 'V': return push_text(line(), Kind::text);
    case 'g': return get(decimal_key(line()));
    case 'p': return put(decimal_key(line()));
    case 'c': {
      auto module = line();
      return push(global(module, line()));
    }
    case 'i': {
      auto module = line();
      Ref cls = global(module, line());
      auto items = pop_mark();
      Ref arguments = make(Kind::tuple);
      add_items(arguments, items);
      return call(cls, arguments);
    }
    case 'P': {
      push_text(line(), Kind::text);
      return persistent(pop());
    }
    default: return step_binary(op);
  }
}

void Machine::step_binary(uint8_t op) {
  switch (op) {
    case 'N': return push(make(Kind::none));
    case 0x88: return push_int(1, Kind::boolean);
    case 0x89: return push_int(0, Kind::boolean);
    case 'K': return push_int(u8());
    case 'M': return push_int(static_cast<int64_t>(little(2)));
    case 'J': return push_int(static_cast<int32_t>(little(4)));
    case 0x8a: return push_little_endian(take(u8()));
    case 0x8b: return push_little_endian(take(length4_signed()));
    case 'G': {
      uint64_t v = 0;
      for (char c : take(8)) v = v << 8 | static_cast<uint8_t>(c);
      return push_real(std::bit_cast<double>(v));
    }
    case 'U': return push_text(take(u8()), Kind::bytes);
    case 'T': return push_text(take(length4_signed()), Kind::bytes);
    case 'C': return push_text(take(u8()), Kind::bytes);
    case 'B': return push_text(take(little(4)), Kind::bytes);
    case 0x8e:
    case 0x96: return push_text(take(little(8)), Kind::bytes);
    case 0x8c: return push_text(take(u8()), Kind::text);
    case 'X': return push_text(take(little(4)), Kind::text);
    case 0x8d: return push_text(take(little(8)), Kind::text);
    default: bad("opcode ", static_cast<int>(op), ", which no pickle of PyTorch has");
  }
}

}  // namespace

bool harmful(std::string_view module, std::string_view name) {
  auto package = module.substr(0, module.find('.'));
  if (contains(harmful_modules, package)) return true;
  if (package == "builtins" || package == "__builtin__" || package == "__builtins__") {
    auto first = name.substr(0, name.find('.'));
    return contains(harmful_builtins, first);
  }
  std::string full = std::string(module) + "." + std::string(name);
  return contains(harmful_names, full);
}

Pickle read(std::span<const std::byte> bytes, const std::string& name, uint64_t base, const Limits& limits) {
  return Machine(bytes, name, base, limits).run();
}

}  // namespace m2bert::checkpoint::pickle
