#include "m2bert/http/net/tls.h"

#include "m2bert/error.h"

namespace m2bert::http {
namespace {

using asio::ssl::context;

// Clients that offer HTTP/2 only are served HTTP/1.1 without an agreement.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered, unsigned offered_size, void*) {
  static constexpr unsigned char ours[] = "\x08http/1.1";
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, size, ours, sizeof ours - 1, offered, offered_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_NOACK;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

void load_certificate(context& tls, const std::filesystem::path& file) {
  error_code error;
  tls.use_certificate_chain_file(file.string(), error);
  require(!error, "cannot read the certificate ", file.string(), ": ", error.message(), ". It must be a PEM file.");
}

void load_key(context& tls, const std::filesystem::path& file, const std::filesystem::path& certificate) {
  bool encrypted = false;
  error_code error;
  tls.set_password_callback([&encrypted](size_t, context::password_purpose) {
    encrypted = true;
    return std::string();
  });
  tls.use_private_key_file(file.string(), context::pem, error);
  require(!encrypted, "the key ", file.string(), " is encrypted. Decrypt it: openssl pkey -in KEY -out NEW_KEY");
  require(ERR_GET_REASON(static_cast<unsigned long>(error.value())) != X509_R_KEY_VALUES_MISMATCH || !error, "the key ", file.string(),
          " does not belong to the certificate ", certificate.string());
  require(!error, "cannot read the key ", file.string(), ": ", error.message(), ". It must be a PEM file.");
}

std::shared_ptr<context> load(const std::filesystem::path& certificate, const std::filesystem::path& key) {
  auto tls = std::make_shared<context>(context::tls_server);
  tls->set_options(context::default_workarounds | context::no_sslv2 | context::no_sslv3 | context::no_tlsv1 | context::no_tlsv1_1 |
                   SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX* handle = tls->native_handle();
  SSL_CTX_set_session_cache_mode(handle, SSL_SESS_CACHE_OFF);  // sessions resume by tickets, which need no memory here
  SSL_CTX_set_mode(handle, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(handle, choose_protocol, nullptr);
  load_certificate(*tls, certificate);
  load_key(*tls, key, certificate);
  return tls;
}

}  // namespace

TlsFiles::TlsFiles(std::filesystem::path certificate, std::filesystem::path key)
    : certificate_(std::move(certificate)), key_(std::move(key)), context_(load(certificate_, key_)) {}

void TlsFiles::reload() {
  auto fresh = load(certificate_, key_);
  const std::lock_guard lock(mutex_);
  context_ = std::move(fresh);
}

std::shared_ptr<asio::ssl::context> TlsFiles::context() const {
  const std::lock_guard lock(mutex_);
  return context_;
}

}  // namespace m2bert::http
