#pragma once
#include <string_view>

namespace m2bert::tokenize {

// The vocabulary file of bert-base-uncased, one token a line.
std::string_view bert_base_uncased_vocabulary();

}  // namespace m2bert::tokenize
