// m2bert serve: where its options come from, what they do, signals, and clear errors.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/http/client.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

// A server that is ready.
struct Serving {
  Running process;
  std::string ready;  // the line
  uint16_t port = 0;

  Reply ask(const std::string& request) const {
    Client client(port);
    client.send(request);
    return client.reply();
  }
  io::Tree json(const std::string& target) const { return io::parse_json(ask(get(target)).body, target); }
  std::string log() const { return content(process.err_file); }
  void signal(int number) const { ::kill(process.pid, number); }
  void wait_for_log(const std::string& part) const {
    EXPECT_TRUE(eventually([&] { return has(log(), part) || process.has_ended(); }));
    EXPECT_PRED2(has, log(), part);
  }
};

// Runs `m2bert serve ARGUMENTS` on a free port, calls use() when it is ready, and ends it by SIGTERM.
Outcome serve(Strings arguments, const std::function<void(const Serving&)>& use, HowToRun how = {}) {
  arguments.insert(arguments.begin(), {"serve", "--threads", "1"});
  how.meanwhile = [&](const Running& process) {
    const auto line = [&] {
      const std::string out = content(process.out_file);
      return out.ends_with("\n") ? out : "";
    };
    eventually([&] { return !line().empty() || process.has_ended(); });
    Serving serving{process, line()};
    if (serving.ready.empty()) {
      ADD_FAILURE() << "not ready: " << serving.log();
      ::kill(process.pid, SIGKILL);
      return;
    }
    const size_t colon = serving.ready.find(':', serving.ready.find("//"));
    if (colon != std::string::npos) serving.port = static_cast<uint16_t>(std::atoi(serving.ready.c_str() + colon + 1));
    use(serving);
    serving.signal(SIGTERM);
  };
  return run(arguments, how);
}

Outcome serve_tiny(Strings arguments, const std::function<void(const Serving&)>& use, const HowToRun& how = {}) {
  arguments.insert(arguments.begin(), {"tiny=" + tiny_models().m2, "--port", "0"});
  return serve(std::move(arguments), use, how);
}

// The program ends by itself, with this code and one line that has the part.
void expect_refused(Strings arguments, int code, const std::string& part, HowToRun how = {}) {
  how.signal_after = {};
  arguments.insert(arguments.begin(), "serve");
  std::atomic<bool> late{false};
  how.meanwhile = [&](const Running& process) {
    if (eventually([&] { return process.has_ended(); })) return;
    late = true;
    ::kill(process.pid, SIGKILL);
  };
  const Outcome outcome = run(arguments, how);
  EXPECT_FALSE(late);
  EXPECT_EQ(outcome.code, code) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_PRED2(has, outcome.err, part);
  EXPECT_PRED2(has, outcome.err, "error: ");
}

const std::string one_text = R"({"inputs": "a"})";

TEST(Serve, TheReadyLineSaysWhereAndWhat) {
  const Outcome outcome =
      serve({"one=" + tiny_models().m2, "--model", "two=" + tiny_models().classifier, "--port", "0"}, [](const Serving& s) {
        EXPECT_EQ(s.ready, "ready: http://127.0.0.1:" + std::to_string(s.port) + " serves one (embed), two (classify)\n");
        const io::Tree models = s.json("/v1/models").at("data");
        ASSERT_EQ(models.items().size(), 2u);
        EXPECT_EQ(models.items()[1].at("id").string(), "two");
        EXPECT_EQ(s.ask(post("/predict", R"({"inputs": "a", "model": "two"})")).status, 200);
      });
  EXPECT_EQ(outcome.code, 0);
  EXPECT_PRED2(has, outcome.err, "one: embeds, 16 dimensions");
  EXPECT_PRED2(has, outcome.err, "Task: it has no classification head");
  EXPECT_PRED2(has, outcome.err, "two: classifies, 3 labels");
  EXPECT_PRED2(has, outcome.err, "--task embed gives its vectors");
}

TEST(Serve, TheReadyLineAsJson) {
  serve_tiny({"--json"}, [](const Serving& s) {
    const io::Tree ready = io::parse_json(s.ready, "ready");
    EXPECT_TRUE(ready.at("ready").boolean());
    EXPECT_EQ(ready.at("models").as<Strings>(), Strings{"tiny"});
    EXPECT_EQ(ready.at("tasks").as<Strings>(), Strings{"embed"});
  });
}

TEST(Serve, TheCommandLineComesBeforeTheEnvironmentAndThatBeforeTheFile) {
  const Scratch scratch;
  const std::string settings =
      scratch.put("serve.yaml", "max-client-batch-size: 3\nqueue-timeout: 7.5\nthreads: 1\nauto-truncate: true\n").string();
  HowToRun with_variable;
  with_variable.environment = {{"M2BERT_MAX_CLIENT_BATCH_SIZE", "4"}};
  const auto largest = [&](Strings arguments, const HowToRun& how) {
    int64_t found = 0;
    arguments.insert(arguments.end(), {"--settings", settings});
    serve_tiny(
        arguments,
        [&](const Serving& s) {
          const io::Tree info = s.json("/info");
          found = info.at("max_client_batch_size").integer();
          EXPECT_TRUE(info.at("auto_truncate").boolean());
        },
        how);
    return found;
  };
  EXPECT_EQ(largest({}, {}), 3);
  EXPECT_EQ(largest({}, with_variable), 4);
  EXPECT_EQ(largest({"--max-client-batch-size", "5"}, with_variable), 5);
}

TEST(Serve, EverythingFromAFileOrTheEnvironment) {
  const Scratch scratch;
  const std::string settings =
      scratch.put("serve.yaml", "model: [one=" + tiny_models().m2 + ", two=" + tiny_models().m2_other + "]\nport: 0\n").string();
  HowToRun how;
  how.environment = {
      {"M2BERT_SETTINGS", settings}, {"M2BERT_THREADS", "1"}, {"M2BERT_LOG_FORMAT", "json"}, {"M2BERT_AUTO_TRUNCATE", "true"}};
  const Outcome outcome = serve(
      {},
      [](const Serving& s) {
        EXPECT_EQ(s.json("/info").at("served_models").as<Strings>(), (Strings{"one", "two"}));
        EXPECT_EQ(s.ask(post("/embed", one_text)).status, 200);
      },
      how);
  EXPECT_PRED2(has, outcome.err, R"("path":"/embed","status":200)");
}

TEST(Serve, OptionsOfTei) {
  const Scratch scratch;
  const std::string socket = (scratch / "socket").string();
  const Strings arguments = {"--model-id",
                             tiny_models().m2,
                             "--hostname",
                             "127.0.0.1",
                             "--port",
                             "0",
                             "--uds-path",
                             socket,
                             "--served-model-name",
                             "name",
                             "--dtype",
                             "float32",
                             "--pooling",
                             "mean",
                             "--auto-truncate",
                             "--default-prompt",
                             "a ",
                             "--tokenization-workers",
                             "3",
                             "--max-concurrent-requests",
                             "9",
                             "--max-batch-tokens",
                             "100",
                             "--max-batch-requests",
                             "5",
                             "--max-client-batch-size",
                             "6",
                             "--payload-limit",
                             "1000",
                             "--json-output",
                             "--cors-allow-origin",
                             "https://a.example"};
  const Outcome outcome = serve(arguments, [&](const Serving& s) {
    const io::Tree info = s.json("/info");
    EXPECT_EQ(info.at("model_id").string(), "name");
    EXPECT_EQ(info.at("pooling").string(), "mean");
    EXPECT_EQ(info.at("tokenization_workers").integer(), 3);
    EXPECT_EQ(info.at("max_concurrent_requests").integer(), 9);
    EXPECT_EQ(info.at("max_batch_tokens").integer(), 100);
    EXPECT_EQ(info.at("max_batch_requests").integer(), 5);
    EXPECT_EQ(info.at("max_client_batch_size").integer(), 6);
    EXPECT_EQ(s.ask(post("/embed", std::string(1001, 'x'))).status, 413);
    EXPECT_EQ(s.ask(get("/info", "Origin: https://a.example\r\n")).header("Access-Control-Allow-Origin"), "https://a.example");
    Client client{fs::path(socket)};
    client.send(get("/health"));
    EXPECT_EQ(client.reply().status, 200);
  });
  EXPECT_EQ(outcome.code, 0);
  EXPECT_PRED2(has, outcome.err, R"("path":"/info")");
  EXPECT_FALSE(fs::exists(socket));
}

TEST(Serve, WrongOptions) {
  const std::string model = "tiny=" + tiny_models().m2;
  expect_refused({}, 2, "no model");
  expect_refused({model, "--prot", "80"}, 2, "--port");
  expect_refused({model, "--port", "70000"}, 2, "from 0 to 65535");
  expect_refused({model, "--tls-cert", "cert.pem"}, 2, "--tls-cert and --tls-key go together");
  expect_refused({model, "--host", ""}, 2, "--unix-socket");
  expect_refused({model, "--normalize", "--no-normalize"}, 2, "exclude each other");
  expect_refused({model, "--model", "two=" + tiny_models().m2, "--served-model-name", "x"}, 2, "NAME=MODEL");
  expect_refused({model, "--model", "two=" + tiny_models().m2, "--config", "recipe.yaml"}, 2, "--config and --tokenizer are for one model");
  HowToRun how;
  how.environment = {{"M2BERT_PORT", "many"}};
  expect_refused({model}, 2, "from 0 to 65535, got 'many'", how);
  how.environment = {{"M2BERT_THREADS", "0"}};
  expect_refused({model}, 2, "M2BERT_THREADS", how);
}

TEST(Serve, WrongSettings) {
  const Scratch scratch;
  const std::string model = "tiny=" + tiny_models().m2;
  const auto refused = [&](const std::string& yaml, const std::string& part) {
    expect_refused({model, "--settings", scratch.put("serve.yaml", yaml).string()}, 1, part);
  };
  refused("port: 0\nprot: 80\n", "serve.yaml:2: prot: there is no option --prot");
  refused("port: many\n", "from 0 to 65535");
  refused("port: [1, 2]\n", "serve.yaml:1");
  refused("port: null\n", "wants a value");
  refused("host: {name: x}\n", "wants a value");
  refused("port: 0\nhost: 127.0.0.1\nhostname: 127.0.0.1\n", "serve.yaml:3");
  refused("settings: other.yaml\n", "there is no option --settings");
  refused("help: true\n", "there is no option --help");
  refused("threads: 0\n", "from 1 to 4096");
  refused("- port\n", "wants options");
  refused("port: [\n", "serve.yaml");
  expect_refused({model, "--settings", (scratch / "none.yaml").string()}, 1, "none.yaml");
}

TEST(Serve, WhatIsNoModel) {
  const Scratch scratch;
  const std::string text = scratch.put("notes.txt", "no model").string();
  expect_refused({text, "--port", "0"}, 1, "notes.txt");
  fs::create_directory(scratch / "empty");
  expect_refused({(scratch / "empty").string(), "--port", "0"}, 1, "empty");
  expect_refused({"tiny=" + tiny_models().m2, "--model", "tiny=" + tiny_models().m2_other, "--port", "0"}, 1, "two models are called tiny");
  expect_refused({tiny_models().m2, "--task", "classify", "--port", "0"}, 1, "no classification head");
  expect_refused({tiny_models().m2, "--default-prompt-name", "query", "--port", "0"}, 1, "no prompt called query");
}

TEST(Serve, ApiKeys) {
  const Scratch scratch;
  const fs::path keys = scratch.put("keys.txt", "# ours\n\nfirst key\r\nkestrel\n");
  fs::permissions(keys, fs::perms::owner_read | fs::perms::owner_write);
  const auto status = [](const Serving& s, const std::string& key) {
    return s.ask(post("/embed", one_text, "Authorization: Bearer " + key + "\r\n")).status;
  };
  const Outcome outcome = serve_tiny({"--api-key-file", keys.string(), "--api-key", "third"}, [&](const Serving& s) {
    EXPECT_EQ(s.ask(post("/embed", one_text)).status, 401);
    EXPECT_EQ(status(s, "wrong"), 401);
    EXPECT_EQ(status(s, "# ours"), 401);
    for (const char* key : {"first key", "kestrel", "third"}) EXPECT_EQ(status(s, key), 200) << key;
    EXPECT_EQ(s.ask(get("/metrics")).status, 200);
    scratch.put("keys.txt", "fourth\n");
    s.signal(SIGHUP);
    s.wait_for_log("read again");
    EXPECT_EQ(status(s, "kestrel"), 401);
    EXPECT_EQ(status(s, "fourth"), 200);
    scratch.put("keys.txt", "\n");
    s.signal(SIGHUP);
    s.wait_for_log("the old API keys and certificates stay: " + keys.string() + ": holds no API key");
    EXPECT_EQ(status(s, "fourth"), 200);
  });
  EXPECT_EQ(outcome.code, 0);
  for (const char* secret : {"first key", "kestrel", "third", "fourth", "wrong", "every user"})
    EXPECT_FALSE(has(outcome.err, secret)) << secret;
}

TEST(Serve, KeyFilesThatCannotBe) {
  const Scratch scratch;
  const std::string model = "tiny=" + tiny_models().m2;
  expect_refused({model, "--port", "0", "--api-key-file", (scratch / "none").string()}, 1, "none");
  expect_refused({model, "--port", "0", "--api-key-file", scratch.put("keys", "# nothing\n").string()}, 1, "keys: holds no API key");
  const fs::path open = scratch.put("open", "key\n");
  fs::permissions(open, fs::perms::others_read, fs::perm_options::add);
  const Outcome outcome = serve_tiny({"--api-key-file", open.string()}, [](const Serving&) {});
  EXPECT_PRED2(has, outcome.err, "open: every user of this machine can read the API keys");
}

TEST(Serve, Tls) {
  const Scratch scratch;
  const Certificate first = make_certificate("first.example"), second = make_certificate("second.example");
  const std::string cert = scratch.put("cert.pem", first.certificate).string(), key = scratch.put("key.pem", first.key).string();
  serve_tiny({"--tls-cert", cert, "--tls-key", key}, [&](const Serving& s) {
    EXPECT_PRED2(has, s.ready, "ready: https://127.0.0.1:");
    const auto served = [&] {
      Client client(s.port);
      EXPECT_TRUE(client.start_tls());
      client.send(get("/health"));
      EXPECT_EQ(client.reply().status, 200);
      return client.certificate_name();
    };
    EXPECT_EQ(served(), "first.example");
    scratch.put("cert.pem", second.certificate);
    scratch.put("key.pem", second.key);
    s.signal(SIGHUP);
    s.wait_for_log("read again");
    EXPECT_EQ(served(), "second.example");
    scratch.put("key.pem", "no key");
    s.signal(SIGHUP);
    s.wait_for_log("the old API keys and certificates stay: ");
    EXPECT_EQ(served(), "second.example");
  });
  const std::string model = "tiny=" + tiny_models().m2;
  expect_refused({model, "--port", "0", "--tls-cert", cert, "--tls-key", (scratch / "none").string()}, 1, "none");
  expect_refused({model, "--port", "0", "--tls-cert", cert, "--tls-key", key}, 1, "key.pem");
}

// A socket file that nobody listens on.
void leave_socket(const std::string& file) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  file.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ::close(fd);
}

TEST(Serve, UnixSocket) {
  const Scratch scratch;
  const std::string socket = (scratch / "socket").string(), model = "tiny=" + tiny_models().m2;
  leave_socket(socket);
  serve({model, "--host", "", "--unix-socket", socket}, [&](const Serving& s) {
    EXPECT_EQ(s.ready, "ready: unix:" + socket + " serves tiny (embed)\n");
    Client client{fs::path(socket)};
    client.send(post("/embed", one_text));
    EXPECT_EQ(client.reply().status, 200);
    expect_refused({model, "--host", "", "--unix-socket", socket}, 1, socket);
  });
  EXPECT_FALSE(fs::exists(socket));
  const std::string file = scratch.put("file", "kept").string();
  expect_refused({model, "--host", "", "--unix-socket", file}, 1, file);
  EXPECT_EQ(content(file), "kept");
  expect_refused({model, "--host", "", "--unix-socket", (scratch / "none/socket").string()}, 1, "none/socket");
}

TEST(Serve, APortInUse) {
  serve_tiny({}, [](const Serving& s) {
    const std::string port = std::to_string(s.port);
    expect_refused({"tiny=" + tiny_models().m2, "--port", port}, 1, "127.0.0.1:" + port);
    EXPECT_EQ(s.ask(get("/health")).status, 200);
  });
}

// A request of which the server has the header alone.
Client begun(const Serving& s) {
  Client client(s.port);
  client.send("POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(one_text.size()) + "\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.reply().status, 100);
  return client;
}

TEST(Serve, SigtermDrains) {
  const Outcome outcome = serve_tiny({}, [](const Serving& s) {
    Client client = begun(s);
    s.signal(SIGTERM);
    s.wait_for_log("draining");
    EXPECT_FALSE(s.process.has_ended());
    client.send(one_text);
    EXPECT_EQ(client.reply().status, 200);
    EXPECT_TRUE(eventually([&] { return s.process.has_ended(); }));
  });
  EXPECT_EQ(outcome.code, 0);
}

TEST(Serve, ASecondSigtermEndsAtOnce) {
  const Outcome outcome = serve_tiny({}, [](const Serving& s) {
    const Client client = begun(s);
    s.signal(SIGTERM);
    s.wait_for_log("draining");
    s.signal(SIGTERM);
    EXPECT_TRUE(eventually([&] { return s.process.has_ended(); }));
  });
  EXPECT_EQ(outcome.code, 128 + SIGTERM);
}

// Loading, which may be a download, is not waited for.
TEST(Serve, SigtermEndsAServerThatIsLoading) {
  const Scratch scratch;
  const std::string socket = (scratch / "socket").string(), recipe = (scratch / "recipe.yaml").string();
  ASSERT_EQ(::mkfifo(recipe.c_str(), 0600), 0);  // nobody writes into it, so reading it does not end
  HowToRun how;
  how.meanwhile = [&](const Running& process) {
    EXPECT_TRUE(eventually([&] { return fs::exists(socket); }));
    ::kill(process.pid, SIGTERM);
    EXPECT_TRUE(eventually([&] { return process.has_ended(); }));
    ::kill(process.pid, SIGKILL);
  };
  const Outcome outcome =
      run({"serve", tiny_models().checkpoint + "/checkpoint.pt", "--config", recipe, "--host", "", "--unix-socket", socket}, how);
  EXPECT_EQ(outcome.code, 128 + SIGTERM) << outcome.err;
  EXPECT_EQ(outcome.out, "");
}

TEST(Serve, TheDrainHasALimit) {
  const Outcome outcome = serve_tiny({"--drain-timeout", "0.2"}, [](const Serving& s) {
    const Client client = begun(s);
    s.signal(SIGINT);
    EXPECT_TRUE(eventually([&] { return s.process.has_ended(); }));
  });
  EXPECT_EQ(outcome.code, 0);
}

TEST(Serve, TheLogHasNoTexts) {
  const Outcome outcome = serve_tiny({}, [](const Serving& s) {
    const std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    EXPECT_EQ(s.ask(post("/embed", R"({"inputs": "river secret"})", "X-Request-Id: my-id\r\ntraceparent: " + trace + "\r\n")).status, 200);
    EXPECT_EQ(s.ask(post("/embed", R"({"inputs": "winter secret", "winter": 1})")).status, 422);
    s.wait_for_log("status=422");
    EXPECT_PRED2(has, s.log(), "request=\"my-id\"");
    EXPECT_PRED2(has, s.log(), trace);
  });
  EXPECT_FALSE(has(outcome.err, "secret")) << outcome.err;
}

}  // namespace
}  // namespace m2bert::test
