#include "../support/scratch.h"
#include "client.h"

#include <openssl/evp.h>
#include <openssl/pem.h>

namespace m2bert {
namespace {

using namespace std::chrono_literals;
using test::Certificate, test::Client, test::eventually, test::get, test::make_certificate, test::post, test::Scratch, test::TestServer;

class Tls : public testing::Test {
 protected:
  void write(const Certificate& made) const {
    scratch_.put("cert.pem", made.certificate);
    scratch_.put("key.pem", made.key);
  }
  http::ServerOptions options() const { return {.tls_cert = scratch_ / "cert.pem", .tls_key = scratch_ / "key.pem"}; }
  std::string error_of_server() const {
    return test::error_of([&] { http::Server(options(), nullptr); });
  }

  void SetUp() override { write(make_certificate("first")); }

  Scratch scratch_;
};

TEST_F(Tls, ServesRequests) {
  TestServer server(options());
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Client client(server.port());
    ASSERT_TRUE(client.start_tls({}, version));
    EXPECT_EQ(client.certificate_name(), "first");
    const std::string body(1'000'000, 'b');
    client.send(post("/echo", body) + get("/large") + get("/thread") + get("/last", "Connection: close\r\n"));
    EXPECT_EQ(client.reply().body, "POST /echo? " + body);
    EXPECT_EQ(client.reply().body.size(), 20'000'000u);
    EXPECT_EQ(client.reply().body, "from a thread");
    EXPECT_EQ(client.reply().body, "GET /last? ");
    EXPECT_TRUE(client.closed());
  }
}

TEST_F(Tls, RefusesOldVersions) {
  TestServer server(options());
  Client client(server.port());
  EXPECT_FALSE(client.start_tls({}, TLS1_1_VERSION));
}

TEST_F(Tls, AgreesOnHttp11) {
  TestServer server(options());
  Client both(server.port()), only_h2(server.port());
  ASSERT_TRUE(both.start_tls("\x02h2\x08http/1.1"));
  EXPECT_EQ(both.alpn(), "http/1.1");
  ASSERT_TRUE(only_h2.start_tls("\x02h2"));
  EXPECT_EQ(only_h2.alpn(), "");
  only_h2.send(get("/a"));
  EXPECT_EQ(only_h2.reply().status, 200);
}

TEST_F(Tls, NoticesThatTheClientIsGone) {
  TestServer server(options());
  Client client(server.port());
  ASSERT_TRUE(client.start_tls());
  client.send(get("/held"));
  const auto held = server.handler->next_held();
  client.close();
  EXPECT_TRUE(eventually([&] { return held.request->gone.load(); }));
  held.respond({});
  server.wait_for_connections(0);
}

TEST_F(Tls, AnswersPipelinedRequests) {
  TestServer server(options());
  Client client(server.port());
  ASSERT_TRUE(client.start_tls());
  for (int round = 0; round < 100; ++round) {
    client.send(get("/held"));
    const auto held = server.handler->next_held();
    std::thread answers([&] { held.respond({.body = "held"}); });
    client.send(get("/next"));  // arrives while the response is sent
    EXPECT_EQ(client.reply().body, "held");
    EXPECT_EQ(client.reply().body, "GET /next? ");
    answers.join();
  }
}

TEST_F(Tls, AnswersABodyThatIsTooLarge) {
  http::ServerOptions small = options();
  small.limits.body_bytes = 1000;
  TestServer server(small);
  Client client(server.port());
  ASSERT_TRUE(client.start_tls());
  client.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 50000\r\n\r\n");
  client.send(std::string(20'000, 'b'));
  EXPECT_EQ(client.reply().status, 413);
}

TEST_F(Tls, LimitsTheTimeOfTheHandshake) {
  http::ServerOptions quick = options();
  quick.limits.header_timeout = 200ms;
  TestServer server(quick);
  Client client(server.port());
  EXPECT_TRUE(client.closed());
}

TEST_F(Tls, ClosesConnectionsWithoutTls) {
  TestServer server(options());
  Client client(server.port());
  client.send(get("/a"));
  EXPECT_EQ(client.read_to_end().find("HTTP"), std::string::npos);
  server.wait_for_connections(0);
}

TEST_F(Tls, IsNotForUnixSockets) {
  http::ServerOptions both = options();
  both.unix_socket = scratch_ / "socket";
  TestServer server(both);
  Client local(scratch_ / "socket");
  local.send(get("/a"));
  EXPECT_EQ(local.reply().status, 200);
}

TEST_F(Tls, ReloadsTheCertificateForNewConnections) {
  TestServer server(options());
  Client before(server.port());
  ASSERT_TRUE(before.start_tls());
  write(make_certificate("second"));
  server.server->reload_tls();
  Client after(server.port());
  ASSERT_TRUE(after.start_tls());
  EXPECT_EQ(after.certificate_name(), "second");
  before.send(get("/a"));
  EXPECT_EQ(before.reply().status, 200);
}

TEST_F(Tls, KeepsTheCertificateWhereTheNewOneIsBroken) {
  TestServer server(options());
  scratch_.put("cert.pem", "no certificate");
  EXPECT_NE(test::error_of([&] { server.server->reload_tls(); }).find("cert.pem"), std::string::npos);
  Client client(server.port());
  ASSERT_TRUE(client.start_tls());
  EXPECT_EQ(client.certificate_name(), "first");
}

TEST_F(Tls, NamesTheFileThatIsWrong) {
  scratch_.put("key.pem", make_certificate("other").key);
  EXPECT_NE(error_of_server().find("key.pem does not belong to the certificate"), std::string::npos) << error_of_server();
  scratch_.put("key.pem", "no key");
  EXPECT_NE(error_of_server().find("cannot read the key"), std::string::npos);
  std::filesystem::remove(scratch_ / "cert.pem");
  EXPECT_NE(error_of_server().find("cert.pem"), std::string::npos);
  EXPECT_NE(test::error_of([&] { http::Server({.tls_cert = "cert.pem"}, nullptr); }).find("both"), std::string::npos);
}

TEST_F(Tls, RefusesAnEncryptedKey) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  FILE* file = std::fopen((scratch_ / "key.pem").c_str(), "w");
  PEM_write_PKCS8PrivateKey(file, key.get(), EVP_aes_128_cbc(), "secret", 6, nullptr, nullptr);
  std::fclose(file);
  EXPECT_NE(error_of_server().find("is encrypted"), std::string::npos) << error_of_server();
}

}  // namespace
}  // namespace m2bert
