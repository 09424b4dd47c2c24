// Keys and certificates made for a test by the openssl program; without it, the test fails.
#pragma once

#include <string>

#include "tests/server/files.hpp"

namespace millrace::test {

// NAME.key and NAME.pem in `folder`, signed by itself. `key`: what `openssl req -newkey` takes.
inline void make_certificate(const Folder& folder, const std::string& name,
                             const std::string& key = "ec -pkeyopt ec_paramgen_curve:prime256v1",
                             const std::string& more = "-nodes -days 30") {
  const Finished made =
      run("openssl req -x509 -newkey " + key + " " + more + " -subj /CN=" + name + " -keyout " +
          folder.path(name + ".key") + " -out " + folder.path(name + ".pem"));
  EXPECT_EQ(made.code, 0) << made.output;
}

// NAME.crl: the list of revoked certificates of the authority NAME, with none in it. `until`: when it
// has to be replaced, as openssl writes it (20300101000000Z).
inline void make_crl(const Folder& folder, const std::string& name, const std::string& until) {
  folder.write("index.txt", "");
  const std::string rules =
      folder.write("ca.cnf", "[ca]\ndefault_ca=x\n[x]\ndatabase=" + folder.path("index.txt") +
                                 "\ndefault_md=sha256\n");
  const Finished made =
      run("openssl ca -config " + rules + " -gencrl -crl_lastupdate 20200101000000Z" +
          " -crl_nextupdate " + until + " -cert " + folder.path(name + ".pem") + " -keyfile " +
          folder.path(name + ".key") + " -out " + folder.path(name + ".crl"));
  EXPECT_EQ(made.code, 0) << made.output;
}

}  // namespace millrace::test
