#include "m2bert/checkpoint/match.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <unordered_map>

#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"
#include "m2bert/memory.h"

namespace m2bert::checkpoint {
namespace {

std::string shape_text(const mx::Shape& shape) {
  std::ostringstream out;
  out << "[";
  for (size_t i = 0; i < shape.size(); ++i) out << (i ? ", " : "") << shape[i];
  out << "]";
  return out.str();
}

bool is_float(const mx::array& a) { return mx::issubdtype(a.dtype(), mx::floating); }
bool is_complex(const mx::array& a) { return mx::issubdtype(a.dtype(), mx::complexfloating); }

// The value in the model's dtype. Floats convert to floats and integers to integers.
mx::array in_dtype(const mx::array& value, mx::Dtype dtype) {
  if (value.dtype() == dtype) return value;
  if (value.dtype() == mx::float64) return mx::astype(value, dtype, mx::Device(mx::Device::cpu));
  return mx::astype(value, dtype);
}

bool same_values(const mx::array& a, const mx::array& b) {
  if (a.id() == b.id()) return true;
  return a.shape() == b.shape() && mx::array_equal(in_dtype(a, b.dtype()), b, true).item<bool>();
}

// position_ids is 0, 1, 2, ... in every model, and some versions of transformers do not save it.
bool counts_up(const std::string& name) { return name.ends_with("embeddings.position_ids"); }

// One array of the model under all of its names.
struct Slot {
  mx::array* array;
  std::string owner;
  std::vector<std::string> aliases;
};

class Matcher {
 public:
  Matcher(nn::Module& module, const TensorMap& weights, const MatchOptions& options) : options_(options) {
    for (const auto& [name, value] : weights)
      require(file_.emplace(name, &value).second, source(), "two weights with the name '", printable(name), "'");
    collect(nn::named_arrays(module));
  }

  // Throws unless the weights fit.
  void check(const TensorMap& weights) {
    for (auto& slot : slots_) match_slot(slot);
    for (const auto& [name, value] : weights)
      if (!known_.contains(name) && !counts_up(name)) report_.unexpected.push_back(name);
    bool wrong = !report_.mismatched.empty() || (!report_.missing.empty() && !options_.allow_missing) ||
                 (!report_.unexpected.empty() && !options_.allow_unexpected);
    if (wrong) fail(source(), "the weights do not fit the model\n", report_.table(), advice());
  }

  void assign() {
    for (auto& [slot, value] : assigned_) {
      mx::array converted = in_dtype(value, slot->array->dtype());
      if (converted.id() != value.id() && !value.has_primitive()) {
        converted.eval();
        release_file_memory(value.data<char>(), value.nbytes());
      }
      *slot->array = converted;
      for (auto* alias : alias_arrays_[slot->owner]) *alias = converted;
    }
  }

  MatchReport report() { return std::move(report_); }

 private:
  std::string source() const { return options_.source.empty() ? "" : options_.source + ": "; }
  std::string advice() const {
    if (!report_.mismatched.empty()) return "Is this the configuration the checkpoint was trained with?";
    if (const std::string part = unknown_part(); !part.empty())
      return "The file's names have '" + printable(part) + ".' in them where the model's do not, a wrapper that m2bert does not know; " +
             "save the weights without it.";
    return options_.advice;
  }

  // An alias belongs to the slot that holds the same member, or else the same array.
  void collect(std::vector<nn::NamedArray> names) {
    for (auto& n : names) {
      known_.insert(n.name);
      if (n.role != nn::Role::alias) slots_.push_back({n.array, n.name, {}});
    }
    for (auto& n : names) {
      if (n.role != nn::Role::alias) continue;
      auto owner = std::find_if(slots_.begin(), slots_.end(), [&](auto& s) { return s.array == n.array; });
      if (owner == slots_.end())
        owner = std::find_if(slots_.begin(), slots_.end(), [&](auto& s) { return s.array->id() == n.array->id(); });
      require(owner != slots_.end(), "[match] '", n.name, "' is an alias of an array that the model does not have");
      owner->aliases.push_back(n.name);
      if (owner->array != n.array) alias_arrays_[owner->owner].push_back(n.array);
    }
  }

  // What an unexpected name has too much of, compared with the first missing one: "wrapped" for bert.wrapped.pooler.dense.bias.
  std::string unknown_part() const {
    if (report_.missing.empty()) return "";
    const std::string& wanted = report_.missing.front();
    for (const auto& name : report_.unexpected) {
      if (name.size() < wanted.size() + 2) continue;
      const size_t more = name.size() - wanted.size();
      for (size_t at = 0; at < wanted.size(); ++at) {
        const bool boundary = (at == 0 || wanted[at - 1] == '.') && name[at + more - 1] == '.';
        if (boundary && name.starts_with(wanted.substr(0, at)) && name.ends_with(wanted.substr(at))) return name.substr(at, more - 1);
      }
    }
    return "";
  }

  void match_slot(Slot& slot) {
    const mx::array* value = nullptr;
    std::string taken_from;
    std::vector<std::string> names = slot.aliases;
    names.insert(names.begin(), slot.owner);
    for (const auto& name : names) {
      auto it = file_.find(name);
      if (it == file_.end()) continue;
      if (!agree(name, *it->second, *slot.array)) return;
      if (value && !same_values(*it->second, *value)) {
        report_.mismatched.push_back(name + ": one array with " + taken_from + " in the model, other values in the file");
        return;
      }
      if (!value) value = it->second, taken_from = name;
      report_.loaded.push_back(name);
    }
    if (value) assigned_.emplace_back(&slot, *value);
    else if (!counts_up(slot.owner)) report_.missing.push_back(slot.owner);
  }
  bool agree(const std::string& name, const mx::array& value, const mx::array& expected) {
    if (value.shape() != expected.shape()) {
      report_.mismatched.push_back(name + ": file " + shape_text(value.shape()) + ", model " + shape_text(expected.shape()));
      return false;
    }
    bool kinds = is_float(value) == is_float(expected) && is_complex(value) == is_complex(expected);
    if (!kinds) report_.mismatched.push_back(name + ": file " + dtype_name(value.dtype()) + ", model " + dtype_name(expected.dtype()));
    return kinds;
  }

  const MatchOptions& options_;
  std::unordered_map<std::string, const mx::array*> file_;
  std::vector<Slot> slots_;
  std::map<std::string, std::vector<mx::array*>> alias_arrays_;  // by owner: aliases that are other members
  std::set<std::string> known_;
  std::vector<std::pair<Slot*, mx::array>> assigned_;
  MatchReport report_;
};

void list_names(std::ostringstream& out, const char* title, const std::vector<std::string>& names) {
  constexpr size_t limit = 20;
  for (size_t i = 0; i < names.size() && i < limit; ++i) out << "  " << title << "  " << printable(names[i]) << "\n";
  if (names.size() > limit) out << "  " << title << "  ... and " << names.size() - limit << " more\n";
}

}  // namespace

std::string MatchReport::table() const {
  std::ostringstream out;
  out << "  loaded " << loaded.size() << ", missing " << missing.size() << ", unexpected " << unexpected.size() << ", mismatched "
      << mismatched.size() << "\n";
  list_names(out, "missing   ", missing);
  list_names(out, "unexpected", unexpected);
  list_names(out, "mismatched", mismatched);
  return out.str();
}

MatchReport match(nn::Module& module, const TensorMap& weights, const MatchOptions& options) {
  Matcher matcher(module, weights, options);
  matcher.check(weights);
  matcher.assign();
  return matcher.report();
}

MatchReport check_match(nn::Module& module, const TensorMap& weights, const MatchOptions& options) {
  Matcher matcher(module, weights, options);
  matcher.check(weights);
  return matcher.report();
}

}  // namespace m2bert::checkpoint
