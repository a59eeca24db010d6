#pragma once
// Tokens and their ids, with longest-match search: a double-array trie over the tokens' bytes.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace m2bert::tokenize {

class Vocabulary {
 public:
  static constexpr int32_t max_id = (1 << 22) - 1;

  // Pairs of a token and its id, 0 to max_id. A token that comes twice has its last id, as in Hugging Face's loader.
  // `name` stands for the file in errors: an id out of range, two tokens with one id.
  Vocabulary(const std::vector<std::pair<std::string_view, int32_t>>& tokens, const std::string& name);

  int32_t id(std::string_view token) const;  // -1: none
  bool has(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < size() && tokens_[static_cast<size_t>(id)].begin != none; }
  std::string_view token(int32_t id) const;       // has(id) is true
  size_t size() const { return tokens_.size(); }  // largest id + 1

  // The trie. A node is a prefix of some token; `dead` is no prefix of any.
  using Node = uint32_t;
  static constexpr Node root = 0, dead = UINT32_MAX;
  Node walk(std::string_view bytes) const;
  Node child(Node node, uint8_t byte) const {
    const Node next = cells_[node].base ^ byte;
    return cells_[next].parent == node ? next : dead;
  }
  int32_t value(Node node) const { return cells_[node].id; }  // -1: no token ends here

 private:
  static constexpr size_t none = SIZE_MAX;
  struct Place {
    size_t begin = none, size = 0;
  };
  struct Cell {
    Node base = 0, parent = dead;
    int32_t id = -1;
  };
  struct Range {
    size_t begin, end, depth;
    Node node;
  };
  using Sorted = std::vector<std::pair<std::string_view, int32_t>>;

  void build(const Sorted& sorted);
  void place_children(const Range& range, const Sorted& sorted, std::vector<Range>& todo);
  Node find_base(const std::vector<uint8_t>& bytes);

  std::string text_;
  std::vector<Place> tokens_;
  std::vector<Cell> cells_;
  Node first_free_ = 1;
};

}  // namespace m2bert::tokenize
