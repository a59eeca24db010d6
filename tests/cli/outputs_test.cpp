// Where outputs go, and what is said of inputs, outputs and models that cannot be used.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

class Outputs : public ::testing::Test {
 protected:
  Outputs() { fs::create_directory(scratch_ / "store"); }

  std::string path(const std::string& name) const { return (scratch_ / name).string(); }

  // A link in the folder to a file in its subfolder "store".
  std::string link_to(const std::string& name) const {
    fs::create_symlink("store/" + name, scratch_ / name);
    return path(name);
  }

  std::string bytes(const std::string& name) const { return content(path(name)); }

  Scratch scratch_;
  std::string model_ = tiny_models().m2, classifier_ = tiny_models().classifier;
};

// A file that is opened must not take the number of a closed stream: messages would be written into it.
TEST_F(Outputs, HoldNoMessagesIfTheStreamsAreClosed) {
  const auto embed = [&](const std::string& name, const HowToRun& how) {
    return run({"embed", "--model", model_, "--text", "river", "-o", path(name)}, how).code;
  };
  for (const std::string type : {".npy", ".jsonl", ".safetensors"}) {
    ASSERT_EQ(embed("open" + type, {}), 0);
    EXPECT_EQ(embed("closed" + type, {.closed_streams = true}), 0);
    EXPECT_EQ(bytes("closed" + type), bytes("open" + type)) << type;
  }
  EXPECT_EQ(run({"embed", "--model", model_, "--text", "river"}, {.closed_streams = true}).code, 1);
}

TEST_F(Outputs, LinksStayAndTheirTargetsAreWritten) {
  struct Case {
    const char* name;
    std::vector<std::string> arguments;
  };
  const std::vector<Case> cases = {
      {"v.npy", {"embed", "--model", model_, "--text", "river", "-o"}},
      {"c.jsonl", {"classify", "--model", classifier_, "--text", "river", "-o"}},
      {"m.safetensors", {"convert", model_}},
      {"m.pt", {"convert", model_}},
  };
  for (const Case& c : cases) {
    std::vector<std::string> arguments = c.arguments;
    arguments.push_back(link_to(c.name));
    const Outcome fresh = run(arguments);
    EXPECT_EQ(fresh.code, 0) << fresh.err;
    EXPECT_TRUE(fs::is_symlink(path(c.name)) && fs::is_regular_file(scratch_ / "store" / c.name)) << c.name;
    const Outcome again = run(arguments);
    EXPECT_EQ(again.code, 1) << c.name;
    EXPECT_TRUE(has(again.err, std::string(c.name) + " is there already"));
    scratch_.put(std::string("store/") + c.name, "old");
    arguments.push_back("--overwrite");
    EXPECT_EQ(run(arguments).code, 0);
    EXPECT_TRUE(fs::is_symlink(path(c.name))) << c.name;
    EXPECT_NE(bytes(c.name), "old") << c.name;
  }
  EXPECT_EQ(scratch_.files(), cases.size() + 1) << "something was left behind";
  const std::string folder = link_to("folder");
  EXPECT_EQ(run({"convert", model_, folder, "--to", "hugging-face"}).code, 0);
  EXPECT_TRUE(fs::is_symlink(folder) && fs::exists(scratch_ / "store/folder/config.json"));
  const std::string data = link_to("data"), text = scratch_.put("text.txt", "river\n").string();
  EXPECT_EQ(run({"data", "build", text, "--out", data}).code, 0);
  EXPECT_TRUE(fs::is_symlink(data) && fs::exists(scratch_ / "store/data/train/index.json"));
}

TEST_F(Outputs, ALinkIsResumedWhereItPoints) {
  std::string lines;
  for (size_t i = 0; i < 1200; ++i) lines += sentence(i, 1 + i % 20) + "\n";
  const std::string input = scratch_.put("in.txt", lines).string(), out = link_to("v.npy");
  const std::vector<std::string> command = {"embed", "--model", model_, input, "-o", out, "--save-every", "0", "--threads", "1"};
  HowToRun how;
  how.signal_when = [&] {
    const fs::path state = scratch_ / "store/v.npy.part.state";
    return fs::exists(state) && io::read_json(state).at("texts").integer() > 0;
  };
  run(command, how);
  EXPECT_FALSE(fs::exists(out));
  std::vector<std::string> resume = command;
  resume.push_back("--resume");
  const Outcome outcome = run(resume);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(has(outcome.err, "resuming after"));
  EXPECT_TRUE(fs::is_symlink(out));
  EXPECT_FALSE(fs::exists(scratch_ / "store/v.npy.part"));
}

TEST_F(Outputs, DevicesAreWrittenDirectly) {
  const std::vector<std::string> embed = {"embed", "--model", model_, "--text", "river", "-o"};
  const auto with = [&](const std::string& output, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = embed;
    arguments.push_back(output);
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  };
  EXPECT_EQ(with("/dev/null").code, 0);
  EXPECT_EQ(with("/dev/stdout").out, with("-").out);
  EXPECT_EQ(with("/dev/fd/1", {"--output-format", "npy"}).out, with("-", {"--output-format", "npy"}).out);
  EXPECT_EQ(with("/dev/stdout", {"--output-format", "npy", "--json"}).code, 2);
  EXPECT_EQ(run({"classify", "--model", classifier_, "--text", "river", "-o", "/dev/null"}).code, 0);
  EXPECT_EQ(run({"convert", model_, "/dev/null", "--to", "safetensors"}).code, 0);
  EXPECT_TRUE(has(with("/dev/full").err, "No space left"));
  EXPECT_TRUE(has(with("/dev/null", {"--overwrite"}).err, "need a file"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(Outputs, BinaryIsNotWrittenToATerminal) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || ::grantpt(terminal) != 0 || ::unlockpt(terminal) != 0) GTEST_SKIP() << "no pseudo-terminals";
  const Outcome outcome =
      run({"embed", "--model", model_, "--text", "river", "--output-format", "npy", "-o", std::string(::ptsname(terminal))});
  ::close(terminal);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_TRUE(has(outcome.err, "binary and are not written to a terminal"));
}

TEST_F(Outputs, VectorsInBinaryWaitInTheTemporaryFolder) {
  HowToRun how;
  how.environment = {{"TMPDIR", path("missing")}};
  const std::vector<std::string> embed = {"embed", "--model", model_, "--text", "river"};
  EXPECT_EQ(run(embed, how).code, 0);
  std::vector<std::string> npy = embed;
  npy.insert(npy.end(), {"--output-format", "npy"});
  const Outcome missing = run(npy, how);
  EXPECT_EQ(missing.code, 1);
  EXPECT_TRUE(has(missing.err, "the temporary folder " + path("missing") + " cannot be used: no such file or folder; set TMPDIR"));
  how.environment = {{"TMPDIR", path("store")}};
  EXPECT_EQ(run(npy, how).out, run(npy).out);
  EXPECT_TRUE(fs::is_empty(scratch_ / "store"));
}

TEST_F(Outputs, AFileNamedDashIsNamedWithItsFolder) {
  scratch_.put("-", "river\n");
  const std::string dash = scratch_.folder().string() + "/./-";
  EXPECT_EQ(json_lines(run({"embed", "--model", model_, dash}).out).size(), 1u);
  EXPECT_EQ(run({"embed", "--model", model_, "--text", "river", "--output-format", "npy", "-o", dash, "--overwrite"}).code, 0);
  EXPECT_TRUE(bytes("-").starts_with("\x93NUMPY"));
}

// Every path that cannot be used is one line that says why, and nothing is left.
TEST_F(Outputs, PathsThatCannotBeUsedSayWhy) {
  fs::create_symlink("loop", scratch_ / "loop");
  fs::create_symlink("nowhere/a.npy", scratch_ / "dangling.npy");
  const std::string loop = path("loop"), file = scratch_.put("file.txt", "river\n").string(), folder = path("store");
  const std::string is_loop = "is a loop of symbolic links";
  struct Case {
    std::vector<std::string> arguments;
    std::string message;
  };
  const auto embed = [&](const std::string& output) {
    return std::vector<std::string>{"embed", "--model", model_, file, "--output-format", "npy", "-o", output};
  };
  const std::vector<Case> cases = {
      {embed(loop), is_loop},
      {embed(loop + "/a.npy"), is_loop},
      {embed(""), "the name of the output is empty"},
      {embed(folder), "store: is a folder"},
      {embed(file + "/a.npy"), "file.txt is a file, not a folder"},
      {embed(path("nodir/out.npy")), "nodir/out.npy: the folder " + path("nodir") + " does not exist; make it first"},
      {embed(path("dangling.npy")), "nowhere does not exist"},
      {{"embed", "--model", loop, file}, is_loop},
      {{"embed", "--model", model_, loop}, is_loop},
      {{"embed", "--model", model_, folder}, "store: is a folder"},
      {{"embed", "--model", model_, "--config", loop, file}, is_loop},
      {{"embed", "--model", model_, "--tokenizer", loop, file}, is_loop},
      {{"embed", "--model", "nosuch", file}, "nosuch: no such file or folder, and no name of a model on the hub (ORG/NAME)"},
      {{"classify", "--model", classifier_, file, "-o", loop}, is_loop},
      {{"classify", "--model", classifier_, file, "-o", path("nodir/a.jsonl")}, "nodir does not exist"},
      {{"fill-mask", "--model", tiny_models().masked_lm, file, "-o", folder}, "store: is a folder"},
      {{"similarity", "--model", model_, "--query", "a", "--vectors", loop}, is_loop},
      {{"similarity", "--model", model_, "--query", "a", "--corpus", loop}, is_loop},
      {{"convert", model_, loop}, is_loop},
      {{"convert", model_, ""}, "the name of the output is empty"},
      {{"convert", loop, path("a.safetensors")}, is_loop},
      {{"convert", model_, file + "/a.safetensors"}, "file.txt is a file, not a folder"},
      {{"inspect", loop}, is_loop},
      {{"inspect", ""}, "\"\": no such file"},
      {{"tokenize", loop}, is_loop},
      {{"tokenize", "--model", loop, "--text", "a"}, is_loop},
      {{"data", "build", loop, "--out", path("d")}, is_loop},
      {{"data", "build", file, "--out", loop}, is_loop},
      {{"report", loop, "-o", path("a.html")}, is_loop},
      {{"pretrain", loop}, is_loop},
      {{"bench", "forward", "--config", loop}, is_loop},
  };
  const size_t files = scratch_.files();
  for (const Case& c : cases) {
    const Outcome outcome = run(c.arguments);
    EXPECT_EQ(outcome.code, 1) << c.arguments[0] << " " << c.message;
    EXPECT_TRUE(has(outcome.err, c.message));
    EXPECT_FALSE(has(outcome.err, "filesystem error"));
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(scratch_.files(), files) << c.arguments[0] << " " << c.message;
  }
}

// Runs as another user, since root may read and write everything.
TEST_F(Outputs, WithoutPermissionIsOneClearError) {
  const std::string locked = path("store"), file = scratch_.put("store/a.txt", "river\n").string();
  scratch_.put("a.txt", "river\n");
  fs::copy(model_, scratch_ / "model", fs::copy_options::recursive);
  model_ = path("model");
  HowToRun how;
  how.user = 65534;
  ::chmod(scratch_.folder().c_str(), 0777);
  if (::geteuid() != 0 || run({"embed", "--model", model_, path("a.txt")}, how).code != 0) GTEST_SKIP() << "cannot run as another user";
  ::chmod(locked.c_str(), 0700);
  struct Case {
    std::vector<std::string> arguments;
    const char* message;
  };
  const std::vector<Case> cases = {
      {{"embed", "--model", model_, file}, "a.txt: permission denied"},
      {{"embed", "--model", model_, path("a.txt"), "-o", locked + "/v.npy"}, "ermission denied"},
      {{"embed", "--model", locked + "/model", path("a.txt")}, "model: permission denied"},
      {{"convert", model_, locked + "/m.safetensors"}, "ermission denied"},
      {{"similarity", "--model", model_, "--query", "a", "--vectors", locked + "/v.npy"}, "permission denied"},
  };
  for (const Case& c : cases) {
    const Outcome outcome = run(c.arguments, how);
    EXPECT_EQ(outcome.code, 1) << c.message;
    EXPECT_TRUE(has(outcome.err, c.message));
    EXPECT_FALSE(has(outcome.err, "filesystem error"));
  }
}

TEST_F(Outputs, NaNNamesTheDtypeInUse) {
  const auto error = [&](const std::string& dtype) {
    return run({"embed", "--model", tiny_models().broken, "--text", "river", "--dtype", dtype}).err;
  };
  EXPECT_TRUE(has(error("float32"), "text 1 gets a vector with NaN or infinite values in float32: the model's weights are broken"));
  EXPECT_FALSE(has(error("float32"), "float16"));
  EXPECT_TRUE(has(error("bfloat16"), "in bfloat16"));
  EXPECT_TRUE(has(error("float16"), "or its values leave the range of float16; try float32"));
}

TEST_F(Outputs, FillMaskNeedsItsHead) {
  const Outcome outcome = run({"fill-mask", "--model", model_, "--text", "a [MASK]"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(has(outcome.err, "has no masked-LM head (cls.predictions)"));
  EXPECT_FALSE(has(outcome.err, "--allow-missing"));
}

}  // namespace
}  // namespace m2bert::test
