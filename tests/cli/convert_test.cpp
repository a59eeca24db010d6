// m2bert convert and inspect: what is checked before anything is written, what is kept, and what is printed.
#include <gtest/gtest.h>

#include <filesystem>

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

void expect_error(const std::vector<std::string>& arguments, const std::vector<std::string>& parts) {
  const Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.code, 1);
  for (const auto& part : parts) EXPECT_TRUE(has(outcome.err, part));
}

// The file with each `old` replaced.
std::string replaced(const std::string& file, const std::string& old, const std::string& by) {
  std::string text = content(file);
  for (size_t at = text.find(old); at != std::string::npos; at = text.find(old, at + by.size())) text.replace(at, old.size(), by);
  return text;
}

TEST(Convert, RecipeThatDoesNotFitIsRefusedBeforeWriting) {
  const Scratch scratch;
  const std::string from = tiny_models().checkpoint, out = (scratch / "out").string();
  const auto recipe = [&](const char* old, const char* by) {
    return scratch.put("recipe.yaml", replaced(from + "/recipe.yaml", old, by)).string();
  };
  const std::string checkpoint = from + "/checkpoint.pt";
  expect_error({"convert", checkpoint, out, "--config", recipe("hidden_size: 16", "hidden_size: 32")},
               {"do not fit", "mismatched  bert.embeddings.word_embeddings.weight: file [88, 16], model [88, 32]"});
  expect_error({"convert", checkpoint, out, "--config", recipe("num_hidden_layers: 2", "num_hidden_layers: 3")},
               {"missing     bert.encoder.layer.2."});
  expect_error({"convert", checkpoint, out, "--config", recipe("num_hidden_layers: 2", "num_hidden_layers: 1")},
               {"unexpected  bert.encoder.layer.1."});
  expect_error({"convert", checkpoint, out + ".safetensors", "--config", recipe("max_seq_len: 32", "max_seq_len: 64")}, {"do not fit"});
  EXPECT_EQ(scratch.files(), 1u);
}

TEST(Convert, NumberOfLabelsFollowsTheWeightsUnlessTheRecipeSaysIt) {
  const Scratch scratch;
  models::Config config = tiny_m2_config();
  config.num_labels = 3;
  const std::string from = (scratch / "from").string(), out = (scratch / "out").string();
  write_checkpoint(from, config, models::Head::classification);
  const std::string two = scratch.put("two.yaml", replaced(from + "/recipe.yaml", "num_labels: 3", "num_labels: 2")).string();
  expect_error({"convert", from + "/checkpoint.pt", out, "--config", two},
               {"two.yaml: the configuration names 2 labels", "classifier.weight has 3 rows"});
  EXPECT_FALSE(fs::exists(out));
  const std::string none = scratch.put("none.yaml", replaced(from + "/recipe.yaml", "    num_labels: 3\n", "")).string();
  const Outcome made = run({"convert", from + "/checkpoint.pt", out, "--config", none});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(io::read_json(out + "/config.json").at("num_labels").integer(), 3);
}

TEST(Convert, TheVectorsOfASentenceTransformersFolderAreThoseOfTheInput) {
  const Scratch scratch;
  const std::string out = (scratch / "out").string();
  models::Config cls = tiny_m2_config();
  cls.use_cls_token = true;
  const std::string with_cls = write_folder((scratch / "cls").string(), cls, models::Head::embedding);
  const auto vectors = [](const std::string& model, const std::vector<std::string>& options) {
    std::vector<std::string> command = {"embed", "--model", model, "--text", "green tree", "--text", "a"};
    command.insert(command.end(), options.begin(), options.end());
    return run(command).out;
  };
  const auto expect_kept = [&](const std::string& model, const std::vector<std::string>& options) {
    std::vector<std::string> command = {"convert", model, out, "--to", "sentence-transformers", "--overwrite"};
    command.insert(command.end(), options.begin(), options.end());
    const Outcome made = run(command);
    EXPECT_EQ(made.code, 0) << made.err;
    EXPECT_EQ(vectors(out, {}), vectors(model, options)) << model;
  };
  expect_kept(tiny_models().m2, {});         // by the pooler
  expect_kept(tiny_models().masked_lm, {});  // by the first token: it has no pooler
  expect_kept(with_cls, {});
  expect_kept(tiny_models().attention, {});  // by the mean
  for (const char* pooling : {"pooler", "lasttoken", "mean+max", "weightedmean+cls"}) {
    expect_kept(tiny_models().m2, {"--pooling", pooling});
    expect_kept(tiny_models().attention, {"--pooling", pooling, "--normalize"});
  }
  const std::vector<std::string> sentence = {"convert",  tiny_models().masked_lm, out, "--to", "sentence-transformers", "--overwrite",
                                             "--pooling"};
  const auto refused = [&](const std::string& pooling, const std::string& part) {
    auto command = sentence;
    command.push_back(pooling);
    expect_error(command, {part});
  };
  refused("pooler", "have no pooler");
  refused("pooler+cls", "several of them, or pooler alone");
}

TEST(Convert, TheFolderOfARunBecomesAModelFolder) {
  const Scratch scratch;
  const std::string from = tiny_models().checkpoint, run_folder = (scratch / "run").string(), out = (scratch / "out").string();
  EXPECT_EQ(run({"convert", from + "/checkpoint.pt", run_folder + "/ep0-ba2.safetensors"}).code, 1);  // there is no such folder
  fs::create_directories(run_folder);
  EXPECT_EQ(run({"convert", from + "/checkpoint.pt", run_folder + "/ep0-ba2.safetensors"}).code, 0);
  for (const char* name : {"recipe.yaml", "vocab.txt"}) fs::copy_file(from + "/" + name, run_folder + "/" + name);
  const Outcome made = run({"convert", run_folder, out});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(io::read_json(out + "/config.json").at("hidden_size").integer(), 16);
  const auto vectors = [](const std::string& model) { return run({"embed", "--model", model, "--text", sentence(1, 40)}).out; };
  EXPECT_EQ(vectors(out), vectors(run_folder));
  fs::rename(run_folder + "/recipe.yaml", run_folder + "/config.yaml");  // the same of any folder with a recipe
  EXPECT_EQ(run({"convert", run_folder, out, "--overwrite"}).code, 0);
  EXPECT_EQ(vectors(out), vectors(run_folder));
}

TEST(Convert, AHuggingFaceFolderKeepsTheLength) {
  const Scratch scratch;
  const std::string in = (scratch / "in").string(), out = (scratch / "out").string();
  for (const auto& model : {tiny_models().m2, tiny_models().attention}) {
    const std::vector<std::string> options = {"--overwrite", "--max-length", "8", "--pooling", "cls"};
    std::vector<std::string> command = {"convert", model, in, "--to", "sentence-transformers"};
    command.insert(command.end(), options.begin(), options.end());
    EXPECT_EQ(run(command).code, 0);
    EXPECT_EQ(run({"convert", in, out, "--to", "hugging-face", "--overwrite"}).code, 0);
    EXPECT_EQ(run({"embed", "--model", out, "--pooling", "cls", "--text", sentence(1, 20)}).out,
              run({"embed", "--model", in, "--text", sentence(1, 20)}).out);
  }
}

TEST(Convert, TokenizerOption) {
  const Scratch scratch;
  const std::string from = tiny_models().checkpoint, out = (scratch / "out").string();
  const std::vector<std::string> command = {"convert", from + "/checkpoint.pt", out, "--config", from + "/recipe.yaml", "--overwrite"};
  const auto with = [&](const std::string& tokenizer) {
    auto arguments = command;
    arguments.insert(arguments.end(), {"--tokenizer", tokenizer});
    return run(arguments);
  };
  for (const std::string& tokenizer : {from + "/vocab.txt", tiny_models().m2}) {
    const Outcome made = with(tokenizer);
    EXPECT_EQ(made.code, 0) << made.err;
    EXPECT_FALSE(has(made.err, "tokenizer"));
    EXPECT_EQ(content(out + "/vocab.txt"), content(from + "/vocab.txt"));
  }
  EXPECT_EQ(run({"embed", "--model", out, "--text", "green tree"}).out,
            run({"embed", "--model", tiny_models().m2, "--text", "green tree"}).out);
  const std::string large =
      scratch.put("large.txt", content(from + "/vocab.txt") + "more\nwords\nthan\nthere\nare\nrows\nby\nfar\n").string();
  EXPECT_TRUE(has(with(large).err, "embeddings for 88"));
  EXPECT_TRUE(has(with(out).err, "would be replaced"));
  std::string cased = content(from + "/vocab.txt");
  cased.replace(cased.find("\ntree\n"), 6, "\nTree\n");
  std::filesystem::create_directory(scratch / "cased");
  const std::string words = scratch.put("cased/vocab.txt", cased).string();
  EXPECT_TRUE(has(with(words).err, "has words with capitals (Tree), and no tokenizer_config.json beside it says do_lower_case"));
  scratch.put("cased/tokenizer_config.json", "{\"do_lower_case\": false}");
  EXPECT_EQ(with(words).code, 0);
  EXPECT_FALSE(io::read_json(out + "/tokenizer_config.json").at("do_lower_case").boolean());
  EXPECT_TRUE(has(with((scratch / "none").string()).err, "none"));
  expect_error({"convert", from + "/checkpoint.pt", out + ".pt", "--tokenizer", from + "/vocab.txt"}, {"--tokenizer", "is a file"});
}

TEST(Convert, FoldersForBertsVocabularyGetIt) {
  const Scratch scratch;
  for (const int rows : {30522, 30528}) {
    models::Config config = rows == 30522 ? tiny_bert_config() : tiny_m2_config();
    config.vocab_size = rows;
    const std::string from = write_folder((scratch / "from").string(), config, models::Head::embedding), out = (scratch / "out").string();
    fs::remove(from + "/vocab.txt");
    const Outcome made = run({"convert", from + "/model.safetensors", out, "--overwrite"});
    EXPECT_EQ(made.code, 0) << made.err;
    EXPECT_EQ(made.err, "");
    const std::string vocabulary = content(out + "/vocab.txt");
    EXPECT_TRUE(vocabulary.starts_with("[PAD]\n[unused0]\n"));
    EXPECT_EQ(std::count(vocabulary.begin(), vocabulary.end(), '\n'), 30522);
    EXPECT_TRUE(io::read_json(out + "/tokenizer_config.json").at("do_lower_case").boolean());
    EXPECT_EQ(run({"embed", "--model", out, "--text", "Monarchs migrate."}).out,
              run({"embed", "--model", from, "--text", "Monarchs migrate."}).out);
  }
}

TEST(Convert, OverwriteLeavesNothingOfTheOldFolder) {
  const Scratch scratch;
  const std::string out = (scratch / "out").string();
  EXPECT_EQ(run({"convert", tiny_models().m2, out, "--to", "sentence-transformers", "--pooling", "mean"}).code, 0);
  EXPECT_EQ(run({"convert", tiny_models().attention, out, "--to", "hugging-face"}).code, 1);
  const Outcome made = run({"convert", tiny_models().attention, out, "--to", "hugging-face", "--overwrite"});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_FALSE(fs::exists(out + "/modules.json"));
  EXPECT_EQ(run({"embed", "--model", out, "--text", "a"}).out, run({"embed", "--model", tiny_models().attention, "--text", "a"}).out);
  scratch.put("out/mine.txt", "mine");
  expect_error({"convert", tiny_models().m2, out, "--overwrite"}, {"mine.txt", "would be lost"});
  EXPECT_TRUE(fs::exists(out + "/mine.txt"));
}

TEST(Convert, AFileOfTheInputIsNotReplaced) {
  const Scratch scratch;
  const std::string model = (scratch / "model").string();
  fs::copy(tiny_models().m2, model);
  const std::string weights = content(model + "/model.safetensors");
  expect_error({"convert", model, model + "/model.safetensors", "--overwrite", "--dtype", "float16"}, {"is a file of the input"});
  fs::rename(model + "/model.safetensors", scratch / "blob.safetensors");  // as in a hub's cache
  fs::create_symlink(scratch / "blob.safetensors", model + "/model.safetensors");
  expect_error({"convert", model, model + "/model.safetensors", "--overwrite", "--dtype", "float16"}, {"is a file of the input"});
  EXPECT_EQ(content(model + "/model.safetensors"), weights);
}

// Transformers takes a quantization_config without quant_method for a mistake; test_vectors.py asks it.
TEST(Convert, FoldersWithInt8WeightsSaySo) {
  const Scratch scratch;
  const std::string small = (scratch / "small").string(), copy = (scratch / "copy").string(), back = (scratch / "back").string();
  ASSERT_EQ(run({"convert", tiny_models().attention, small, "--dtype", "int8"}).code, 0);
  ASSERT_EQ(run({"convert", small, copy, "--to", "sentence-transformers"}).code, 0);
  ASSERT_EQ(run({"convert", copy, back, "--dtype", "float32"}).code, 0);
  for (const std::string& folder : {small, copy})
    EXPECT_EQ(io::read_json(folder + "/config.json").at("quantization_config").at("format").string(), "m2bert int8") << folder;
  EXPECT_FALSE(io::read_json(back + "/config.json").contains("quantization_config"));
  for (const std::string& folder : {small, copy, back}) EXPECT_EQ(run({"embed", "--model", folder, "--text", "river"}).code, 0) << folder;
}

TEST(Convert, OptionsWithoutEffectAreRefused) {
  const Scratch scratch;
  const std::string model = tiny_models().m2, sentence = (scratch / "sentence").string(), out = (scratch / "out").string();
  EXPECT_EQ(run({"convert", model, sentence, "--to", "sentence-transformers"}).code, 0);
  for (const std::vector<std::string>& option :
       std::vector<std::vector<std::string>>{{"--pooling", "mean"}, {"--normalize"}, {"--max-length", "8"}}) {
    std::vector<std::string> plain = {"convert", model, out}, again = {"convert", sentence, out, "--to", "sentence-transformers"};
    plain.insert(plain.end(), option.begin(), option.end());
    again.insert(again.end(), option.begin(), option.end());
    expect_error(plain, {option[0], "--to sentence-transformers"});
    expect_error(again, {option[0], "own settings are kept"});
  }
}

TEST(Convert, WeightsThatAreNotFiniteDoNotBecomeInt8) {
  const Scratch scratch;
  expect_error({"convert", tiny_models().broken, (scratch / "out").string(), "--dtype", "int8"},
               {"'bert.pooler.dense.bias' has NaN or infinite values"});
  EXPECT_EQ(scratch.files(), 0u);
}

TEST(Convert, TakesTheAverageThatIsNamed) {
  const Scratch scratch;
  const std::string file = (scratch / "both.safetensors").string(), out = (scratch / "out.safetensors").string();
  checkpoint::save_safetensors(file, {{"model.bert.pooler.dense.bias", mx::zeros({2})}, {"ema.bert.pooler.dense.bias", mx::ones({2})}});
  const Outcome plain = run({"convert", file, out});
  EXPECT_TRUE(has(plain.err, "below 'ema'") && has(plain.err, "--weights"));
  EXPECT_EQ(mx::sum(checkpoint::load_weights(out).at(0).second).item<float>(), 0.0f);
  EXPECT_EQ(run({"convert", file, out, "--weights", "ema", "--overwrite"}).err, "");
  EXPECT_EQ(mx::sum(checkpoint::load_weights(out).at(0).second).item<float>(), 2.0f);
}

TEST(Inspect, NamesOfTheFileReachNoTerminal) {
  const Scratch scratch;
  const std::string file = (scratch / "in.safetensors").string();
  checkpoint::save_safetensors(file, {{"a\x1b[31m.b", mx::zeros({2})}, {"bert.pooler.dense.bias", mx::zeros({2})}},
                               {{"m2bert.run", R"({"recipe": {"run_name": "x\u001b[2Jy"}})"}});
  const Outcome outcome = run({"inspect", file});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(has(outcome.out, "[31m.b") && has(outcome.out, "run_name x"));
  EXPECT_EQ(outcome.out.find('\x1b'), std::string::npos);
}

TEST(Inspect, SummaryOfATrainingCheckpoint) {
  const Outcome outcome = run({"inspect", "--summary", std::string(M2BERT_SOURCE_DIR) + "/tests/golden/checkpoint/composer.pt"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char* part :
       {"Composer checkpoint with optimizer state", "    encoder         10 tensors, ", "  optimizer     6 tensors, ",
        "  optimizer: name DecoupledAdamW, state exp_avg exp_avg_sq step, ", "lr 0.0005", "  position: batch 3", "  recipe: run_name tiny"})
    EXPECT_TRUE(has(outcome.out, part));
  EXPECT_FALSE(has(outcome.out, "not readable"));  // the random state is no weight
}

}  // namespace
}  // namespace m2bert::test
