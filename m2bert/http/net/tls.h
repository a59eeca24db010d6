#pragma once
#include <filesystem>
#include <mutex>

#include "m2bert/http/net/asio.h"

namespace m2bert::http {

// The certificate of a server. Thread-safe.
class TlsFiles {
 public:
  // PEM files: the certificate with those that lead to its root, and the key. Throws if they cannot be read or do not belong together.
  TlsFiles(std::filesystem::path certificate, std::filesystem::path key);
  // Reads the files again. If that throws, the old certificate stays.
  void reload();
  std::shared_ptr<asio::ssl::context> context() const;

 private:
  std::filesystem::path certificate_, key_;
  mutable std::mutex mutex_;
  std::shared_ptr<asio::ssl::context> context_;
};

}  // namespace m2bert::http
