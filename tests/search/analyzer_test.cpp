#include "m2bert/search/analyzer.h"

#include <gtest/gtest.h>

namespace m2bert::search {
namespace {

using Terms = std::vector<std::string>;

TEST(Analyzer, WordsAreLowerCasedRunsOfLettersAndDigits) {
  EXPECT_EQ(analyze("Monarchs, in 2,000 (or more) snake_case words!"),
            (Terms{"monarchs", "in", "2", "000", "or", "more", "snake_case", "words"}));
  EXPECT_EQ(analyze(""), Terms{});
  EXPECT_EQ(analyze(" ... "), Terms{});
}

TEST(Analyzer, WordsOfOtherScripts) {
  EXPECT_EQ(analyze("ÄRGER über Straße"), (Terms{"ärger", "über", "straße"}));
  EXPECT_EQ(analyze("ПРИВЕТ мир"), (Terms{"привет", "мир"}));
  EXPECT_EQ(analyze("機械 learning"), (Terms{"機", "械", "learning"}));
  EXPECT_EQ(analyze("हिन्दी भाषा").size(), 2U);  // vowel signs belong to their words
  EXPECT_EQ(analyze("a\xFF"
                    "b"),
            (Terms{"a", "b"}));
}

TEST(Analyzer, ApostrophesInsideWords) {
  EXPECT_EQ(analyze("Don't 'quote' rock 'n' roll's"), (Terms{"don't", "quote", "rock", "n", "roll's"}));
  EXPECT_EQ(analyze("It\xE2\x80\x99s"), (Terms{"it's"}));
  EXPECT_EQ(analyze("a''b"), (Terms{"a", "b"}));
}

TEST(Analyzer, English) {
  EXPECT_EQ(analyze("The monarch's migrations are not for the faint-hearted", {.english = true}),
            (Terms{"monarch", "migrat", "faint", "heart"}));
  EXPECT_TRUE(is_stop_word("with"));
  EXPECT_FALSE(is_stop_word("without"));
}

// Words of Porter's paper and of his published vocabulary, with what his own program makes of them.
TEST(Analyzer, PorterStems) {
  const std::pair<const char*, const char*> words[] = {{"caresses", "caress"},
                                                       {"ponies", "poni"},
                                                       {"ties", "ti"},
                                                       {"caress", "caress"},
                                                       {"cats", "cat"},
                                                       {"feed", "feed"},
                                                       {"agreed", "agre"},
                                                       {"plastered", "plaster"},
                                                       {"bled", "bled"},
                                                       {"motoring", "motor"},
                                                       {"sing", "sing"},
                                                       {"conflated", "conflat"},
                                                       {"troubled", "troubl"},
                                                       {"sized", "size"},
                                                       {"hopping", "hop"},
                                                       {"tanned", "tan"},
                                                       {"falling", "fall"},
                                                       {"hissing", "hiss"},
                                                       {"fizzed", "fizz"},
                                                       {"failing", "fail"},
                                                       {"filing", "file"},
                                                       {"happy", "happi"},
                                                       {"sky", "sky"},
                                                       {"relational", "relat"},
                                                       {"conditional", "condit"},
                                                       {"rational", "ration"},
                                                       {"valenci", "valenc"},
                                                       {"digitizer", "digit"},
                                                       {"conformabli", "conform"},
                                                       {"radicalli", "radic"},
                                                       {"differentli", "differ"},
                                                       {"vileli", "vile"},
                                                       {"analogousli", "analog"},
                                                       {"vietnamization", "vietnam"},
                                                       {"predication", "predic"},
                                                       {"operator", "oper"},
                                                       {"feudalism", "feudal"},
                                                       {"decisiveness", "decis"},
                                                       {"hopefulness", "hope"},
                                                       {"callousness", "callous"},
                                                       {"formaliti", "formal"},
                                                       {"sensitiviti", "sensit"},
                                                       {"sensibiliti", "sensibl"},
                                                       {"triplicate", "triplic"},
                                                       {"formative", "form"},
                                                       {"formalize", "formal"},
                                                       {"electriciti", "electr"},
                                                       {"electrical", "electr"},
                                                       {"hopeful", "hope"},
                                                       {"goodness", "good"},
                                                       {"revival", "reviv"},
                                                       {"allowance", "allow"},
                                                       {"inference", "infer"},
                                                       {"airliner", "airlin"},
                                                       {"gyroscopic", "gyroscop"},
                                                       {"adjustable", "adjust"},
                                                       {"defensible", "defens"},
                                                       {"irritant", "irrit"},
                                                       {"replacement", "replac"},
                                                       {"adjustment", "adjust"},
                                                       {"dependent", "depend"},
                                                       {"adoption", "adopt"},
                                                       {"homologou", "homolog"},
                                                       {"communism", "commun"},
                                                       {"activate", "activ"},
                                                       {"angulariti", "angular"},
                                                       {"homologous", "homolog"},
                                                       {"effective", "effect"},
                                                       {"bowdlerize", "bowdler"},
                                                       {"probate", "probat"},
                                                       {"rate", "rate"},
                                                       {"cease", "ceas"},
                                                       {"controll", "control"},
                                                       {"roll", "roll"},
                                                       {"is", "is"},
                                                       {"geology", "geologi"},
                                                       {"archaeology", "archaeolog"},
                                                       {"übung", "übung"},
                                                       {"don't", "don't"},
                                                       {"ied", "i"},
                                                       {"yes", "ye"}};
  for (const auto& [word, stem] : words) EXPECT_EQ(porter_stem(word), stem) << word;
}

}  // namespace
}  // namespace m2bert::search
