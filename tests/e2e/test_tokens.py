"""JSON Web Tokens: as passwords of stock clients, by the authentication method JWT, over HTTP; their
end, and their renewal."""

import base64
import hmac
import json
import subprocess
import threading
import time
import urllib.request

import wire
from case import Case, basic, eventually, http_answer, main
from peer import Peer
from server import Server

SECRET = b"a secret of thirty-two bytes, or more"


def encoded(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(user="ann", header=None, secret=SECRET, **claims):
    claims = {"sub": user, "exp": int(time.time()) + 1000, **claims}
    text = encoded(header or {"alg": "HS256"}) + "." + encoded(claims)
    return text + "." + encoded(hmac.digest(secret, text.encode(), "sha256"))


class Tokens(Case):
    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        cls.jwt = {"secret_file": cls.file("secret"), "leeway_seconds": 0}
        with open(cls.file("secret"), "wb") as out:
            out.write(SECRET + b"\n")
        for name in ("rsa", "other"):
            cls.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out",
                        cls.file(f"{name}.key"))
        cls.openssl("pkey", "-in", cls.file("rsa.key"), "-pubout", "-out", cls.file("rsa.pub"))
        cls.jwt["keys_file"] = cls.file("rsa.pub")
        cls.CONFIG = {"access": {"jwt": cls.jwt, "login_delay_max_ms": 0, "rules": [
            {"effect": "allow", "user": "ann", "filter": "ann/#"},
            {"effect": "allow", "user": "bob", "filter": "bob/#"}]}}
        super().setUpClass()

    @staticmethod
    def openssl(*arguments, **options):
        return subprocess.run(["openssl", *arguments], check=True, capture_output=True, **options).stdout

    def rs256(self, key, header=None, **claims):
        claims = {"sub": "ann", "exp": int(time.time()) + 1000, **claims}
        text = encoded(header or {"alg": "RS256"}) + "." + encoded(claims)
        return text + "." + encoded(self.openssl("dgst", "-sha256", "-sign", self.file(key),
                                                 input=text.encode()))

    def refused(self, password, code=0x86, **options):
        raw = self.raw()
        raw.send(wire.connect(self.unique, username="ann", password=password, **options))
        raw.expect_refused(code)

    def test_a_token_is_a_password_and_names_the_user(self):
        for version in (4, 5):
            one = self.peer(version=version, username="bob", password=token("ann"))
            one.subscribe("ann/x", qos=1)
            one.publish("ann/x", b"mine", qos=1)
            one.receive(payload=b"mine")
        self.assertEqual(self.peer(password=token("bob")).publish("ann/x", b"", qos=1).code, 0x87)

    def test_rsa_signed_by_openssl(self):
        one = self.peer(username="x", password=self.rs256("rsa.key"))
        self.assertEqual(one.publish("ann/x", b"", qos=1).code, 0x10)
        self.refused(self.rs256("other.key"))

    def jwks(self, name, key_id):
        """The public key of a file as a set of keys, RFC 7517."""
        modulus = self.openssl("rsa", "-in", self.file(name), "-noout", "-modulus").split(b"=")[1]
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key_id, "e": "AQAB",
                          "n": encoded(bytes.fromhex(modulus.decode()))}]}

    def test_keys_come_from_a_set_of_them_and_are_replaced_at_sighup(self):
        path = self.file("keys.json")

        def write(name, key_id):
            with open(path, "w") as out:
                json.dump(self.jwks(name, key_id), out)

        def by(key, key_id):
            return self.rs256(key, {"alg": "RS256", "kid": key_id})

        def connack(password):
            one = Peer(server.mqtt_port)
            self.addCleanup(one.close)
            one.send(wire.connect(f"{self.unique}{time.monotonic_ns()}", password=password))
            return one, one.expect(wire.CONNACK).code

        write("rsa.key", "2026")
        with Server({"access": {"jwt": {"keys_file": path}, "login_delay_max_ms": 0}}) as server:
            one, code = connack(by("rsa.key", "2026"))
            self.assertEqual(code, 0)
            for wrong in (by("other.key", "2026"), by("rsa.key", "2025")):
                self.assertEqual(connack(wrong)[1], 0x86)
            write("other.key", "2027")
            self.assertEqual(server.reload(), "reloaded")
            one.expect_fault(0x87)
            self.assertEqual(connack(by("other.key", "2027"))[1], 0)
            self.assertEqual(connack(by("rsa.key", "2026"))[1], 0x86)

    def swapped(self):
        """Tokens whose algorithm is not that of the key: signed with the public key as a secret, or
        not at all."""
        with open(self.file("rsa.pub"), "rb") as file:
            public = file.read()
        claims = encoded({"sub": "ann", "exp": time.time() + 1000})
        unsigned = [encoded({"alg": name}) + "." + claims + "." for name in ("none", "None", "NONE", "")]
        return [token(secret=public), token(header={"alg": "RS256"}),
                self.rs256("rsa.key", header={"alg": "HS256"}), *unsigned]

    def test_an_algorithm_that_was_swapped_is_refused(self):
        for forged in self.swapped():
            self.refused(forged)

    def test_what_is_no_valid_token_is_refused(self):
        for wrong in ("secret", "", token(exp=int(time.time()) - 1), token(nbf=time.time() + 100),
                      token(user=""), token(secret=b"x" * 32), token()[:-1], "." * 1000,
                      "ey" + "." * 2, "ey" + "A" * 60000):
            self.refused(wrong)
        # A megabyte is over the limit of a CONNECT; the connection ends, and the server goes on.
        raw = self.raw()
        raw.send(b"\x10" + b"\x80\x80\x40" + wire.connect("x", password="y")[2:] + b"z" * 100_000)
        raw.expect_end()
        self.peer(password=token())

    def test_mosquitto_clients(self):
        options = ["-p", str(self.server.mqtt_port), "-u", "ann", "-P", token()]
        reader = self.program("mosquitto_sub", *options, "-d", "-t", "ann/m", "-q", "1", "-F", "got %p")
        reader.line("Subscribed")
        self.program("mosquitto_pub", *options, "-t", "ann/m", "-m", "x", "-q", "1").finish()
        self.assertEqual(reader.line("got"), "got x")

    def with_short_token(self, use):
        """Calls use(token, end) with tokens of 2, 4, ... 32 s until it returns something; None: the token had expired
        too early."""
        for seconds in (2, 4, 8, 16, 32):
            end = int(time.time()) + seconds
            if result := use(token(exp=end), end):
                return result
        raise AssertionError("each token expired too early")

    def connected(self, version=5, **options):
        """With a token that ends soon."""
        def come(text, _):
            one = self.raw(version)
            one.send(wire.connect(f"{self.unique}n{time.monotonic_ns()}", version=version, username="x", password=text,
                                  **options))
            return one if one.expect(wire.CONNACK).code == 0 else None
        return self.with_short_token(come)

    def test_a_connection_ends_with_its_token(self):
        for version in (5, 4):
            one = self.connected(version)
            other = self.peer(password=token())
            farewell = one.expect_fault(0x87)
            if version == 5:
                self.assertEqual(farewell.one(wire.REASON_STRING), "the token has expired")
            other.publish("ann/x", b"", qos=1)
        eventually(lambda: self.server.metrics()[
            'millrace_connections_closed_total{cause="expired"}'] >= 2, "it is counted")

    def test_who_takes_no_words_is_told_the_code_alone(self):
        for property_ in ((wire.REQUEST_PROBLEM, 0), (wire.MAXIMUM_PACKET, 36)):
            one = self.connected(properties=[property_])
            self.assertEqual(one.expect_fault(0x87).props, {})

    def enhanced(self, text, **options):
        raw = self.raw()
        raw.send(wire.connect(options.pop("name", self.unique), properties=[
            (wire.AUTH_METHOD, "JWT"), (wire.AUTH_DATA, text.encode())], **options))
        return raw

    def renew(self, peer, text):
        peer.send(wire.auth(0x19, [(wire.AUTH_METHOD, "JWT"), (wire.AUTH_DATA, text.encode())]))

    def test_auth_renews_a_token_before_it_ends(self):
        def renewed(text, end):
            one = self.enhanced(text)
            if one.expect(wire.CONNACK).code != 0:
                return None
            self.renew(one, token())
            got = one.next()
            if got.kind == wire.DISCONNECT:  # That came too late.
                return None
            self.assertEqual((got.kind, got.code), (wire.AUTH, 0))
            return one, end
        one, end = self.with_short_token(renewed)

        def ends_later(text, _):
            ends = self.enhanced(token(exp=max(end, int(time.time()) + 2)), name=self.unique + "ends")
            return ends if ends.expect(wire.CONNACK).code == 0 else None
        self.with_short_token(ends_later).expect_fault(0x87)  # By now the first token has ended as well.
        one.publish("ann/x", b"", qos=1)

    def test_a_renewal_that_is_refused_ends_the_connection(self):
        for wrong in (token("bob"), token(secret=b"x" * 32), token(exp=1), "nothing"):
            one = self.enhanced(token(), name=self.unique + str(hash(wrong)))
            one.expect(wire.CONNACK, code=0)
            self.renew(one, wrong)
            one.expect_fault(0x87)

    def test_who_renews_without_end_is_stopped(self):
        one = self.enhanced(token())
        one.expect(wire.CONNACK, code=0)
        for _ in range(100):
            self.renew(one, token())
        while (got := one.next()).kind == wire.AUTH:
            pass
        self.assertEqual((got.kind, got.code), (wire.DISCONNECT, 0x96))
        one.expect_end()

    def test_a_wrong_token_by_the_method_is_refused(self):
        for wrong in ("nothing", token(secret=b"x" * 32), ""):
            self.enhanced(wrong).expect_refused(0x87)

    def test_the_rules_in_a_token_limit_its_client(self):
        jwt = {**self.jwt, "acl_claim": "acl"}
        with Server({"access": {"jwt": jwt, "rules": [
                {"effect": "deny", "filter": "own/secret"},
                {"effect": "allow", "filter": "#"}]}}) as server:
            one = Peer(server.mqtt_port)
            self.addCleanup(one.close)
            one.connect("one", password=token(acl={"publish": ["own/#"], "subscribe": ["own/+"]}),
                        will=None)
            self.assertEqual([one.publish(topic, b"", qos=1).code
                              for topic in ("own/x", "own/secret", "other")], [0x10, 0x87, 0x87])
            self.assertEqual(one.subscribe("own/+", "own/secret", "#", "$share/g/other",
                                           "$latest/other").codes, [0, 0x87, 0x87, 0x87, 0x87])
            bare = Peer(server.mqtt_port)
            self.addCleanup(bare.close)
            bare.send(wire.connect("bare", password=token()))
            bare.expect_refused(0x86)
            renewed = Peer(server.mqtt_port)
            self.addCleanup(renewed.close)
            renewed.send(wire.connect("r", properties=[
                (wire.AUTH_METHOD, "JWT"), (wire.AUTH_DATA, token(acl={"all": ["a"]}).encode())]))
            renewed.expect(wire.CONNACK, code=0)
            self.renew(renewed, token(acl={"all": ["a"]}))
            renewed.expect(wire.AUTH, code=0)
            self.renew(renewed, token(acl={"all": ["#"]}))
            renewed.expect_fault(0x87)

    def test_a_key_that_is_replaced_ends_its_connections_at_sighup(self):
        path = self.file("replaced")
        with open(path, "wb") as out:
            out.write(SECRET)
        with Server({"access": {"jwt": {"secret_file": path}}}) as server:
            one = Peer(server.mqtt_port)
            self.addCleanup(one.close)
            one.connect("one", password=token())
            self.assertEqual(server.reload(), "reloaded")
            one.publish("x", b"", qos=1)
            with open(path, "wb") as out:
                out.write(b"n" * 32)
            self.assertEqual(server.reload(), "reloaded")
            one.expect_fault(0x87)
            two = Peer(server.mqtt_port)
            self.addCleanup(two.close)
            two.connect("two", password=token(secret=b"n" * 32))
            with open(path, "wb") as out:
                out.write(b"short")
            self.assertEqual(server.reload(), "reload.fault")
            two.publish("x", b"", qos=1)

    def over_http(self, authorization):
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.http_port}/topics/ann/h",
                                         headers={"Authorization": authorization})
        return http_answer(request)[0]

    def test_topics_are_read_with_a_token_as_well_until_it_ends(self):
        self.peer(password=token()).publish("ann/h", b"x", qos=1)
        self.assertEqual(self.over_http("Bearer " + token()), 200)
        self.assertEqual(self.over_http("Bearer " + token("bob")), 403)
        self.assertEqual(self.over_http("Bearer nothing"), 401)
        self.assertEqual(self.over_http(basic("x", token())), 200)

        def reads(text, _):
            status = self.over_http("Bearer " + text)
            self.assertIn(status, (200, 401))
            return "Bearer " + text if status == 200 else None
        short = self.with_short_token(reads)
        eventually(lambda: self.over_http(short) == 401, "it ends")

    def test_a_token_that_lists_what_it_allows_manages_nothing(self):
        def started(jwt):
            server = Server({"access": {"jwt": jwt, "administrators": ["ann"]}})
            self.addCleanup(server.stop)
            return server

        def reload_by(server, text):
            request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/api/v1/reload", method="POST",
                                             headers={"Authorization": "Bearer " + text})
            return http_answer(request)[0]

        lists_nothing = started(self.jwt)
        self.assertEqual(reload_by(lists_nothing, token()), 200)
        self.assertEqual(reload_by(lists_nothing, token("bob")), 403)
        lists = started({**self.jwt, "acl_claim": "acl"})
        self.assertEqual(reload_by(lists, token(acl={"all": ["#"]})), 403)

    def test_who_waits_over_http_longer_than_its_token_holds_gets_nothing(self):
        def waits(text, _):
            """Who has this token, and whoever waits over HTTP with it."""
            ends = self.raw()
            ends.send(wire.connect(self.unique, password=text))
            if ends.expect(wire.CONNACK).code != 0:
                return None
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.server.http_port}/topics/ann/late",
                headers={"Authorization": "Bearer " + text, "Prefer": "wait=60"})
            told = []
            waiting = threading.Thread(target=lambda: told.append(http_answer(request)[0]))
            waiting.start()
            eventually(lambda: told or self.server.metrics()["millrace_http_long_polls"] == 1, "it waits")
            return None if told else (ends, waiting, told)
        ends, waiting, told = self.with_short_token(waits)
        ends.expect_fault(0x87)
        self.peer(password=token()).publish("ann/late", b"x", qos=1)
        waiting.join()
        self.assertEqual(told, [401])

    def test_a_flood_of_wrong_tokens_leaves_memory_descriptors_and_others_alone(self):
        self.peer(password=token()).publish("ann/x", b"", qos=1)
        wrong = [token(secret=b"x" * 32), *self.swapped()]

        def flood():
            for number in range(300):
                raw = Peer(self.server.mqtt_port)
                raw.send(wire.connect(f"f{number}", password=wrong[number % len(wrong)]))
                raw.expect_refused(0x86, 0x89)
                raw.close()
        descriptors = self.server.descriptors()
        self.adds_little(flood, 1 << 20, "ann/meanwhile", password=token())
        eventually(lambda: self.server.descriptors() <= descriptors, "the sockets are closed")
        self.peer(password=token()).publish("ann/x", b"", qos=1)


if __name__ == "__main__":
    main()
