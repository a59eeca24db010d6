#pragma once
// Texts to terms, for lexical search.
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::search {

struct AnalyzerOptions {
  bool english = false;  // drop stop words and the possessive 's, and stem: Lucene's English analyzer, which Anserini uses for BEIR
};

// The lower-cased words of a text: runs of letters, digits and underscores (Python's \w), with apostrophes inside. A Chinese character is a
// word of its own. Ill-formed UTF-8 divides words. Thread-safe.
std::vector<std::string> analyze(std::string_view text, const AnalyzerOptions& options = {});

// Whether a lower-case word is one of the 33 English words that Lucene leaves out.
bool is_stop_word(std::string_view word);

// M. F. Porter, "An algorithm for suffix stripping", Program 14 (1980), as Porter's own implementation has it. word: lower case; words with
// other letters than a to z and words of one or two letters stay as they are.
std::string porter_stem(std::string_view word);

}  // namespace m2bert::search
