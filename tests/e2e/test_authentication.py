"""Passwords and SCRAM-SHA-256 with clients that do not wait, send wrong answers, or are very many."""

import itertools
import socket
import subprocess

import wire
from case import Case, eventually, main
from peer import Peer
from scram import METHOD, Scram
from server import binary

# So many iterations that a connection which waits for such a password check is noticed.
SLOW_ITERATIONS = 3_000_000
_count = itertools.count(1)


def passwd(*arguments):
    subprocess.run([binary(), "passwd", "-b", *map(str, arguments)], check=True)


class Users(Case):
    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        cls.CONFIG = cls.config()
        super().setUpClass()


class Argon2(Users):
    @classmethod
    def config(cls):
        passwd("--argon2", cls.file("passwords"), "ann", "secret")
        passwd("-I", 1, cls.file("passwords"), "bob", "sesame")
        with open(cls.file("passwords")) as file:
            assert "\nann:$argon2id$" in "\n" + file.read()
        return {"access": {"password_file": cls.file("passwords"), "login_delay_max_ms": 0}}

    def test_its_users_come_in_with_their_password_alone(self):
        for version in (4, 5):
            one = self.peer(version=version, username="ann", password="secret")
            one.publish("t", b"", qos=1)
            for name, guess in (("ann", "Secret"), ("ann", ""), ("ann", None), ("bob", "secret")):
                stranger = self.raw(version)
                stranger.send(wire.connect(f"{self.unique}x", username=name, password=guess, version=version))
                stranger.expect_refused(*((0x86, 0x87) if version == 5 else (4, 5)))
        self.peer(username="bob", password="sesame")  # The other kind beside it.


class Exchanges(Users):
    @classmethod
    def config(cls):
        passwd("--scram", cls.file("scram"), "ann", "secret")
        passwd("--scram", "-I", 4096, cls.file("scram"), "bob", "b=,b")
        return {"access": {"scram_file": cls.file("scram"), "rules": [
            {"effect": "deny", "user": "ann", "action": "publish", "filter": "denied/#"},
            {"effect": "allow", "filter": "#"}]}}

    def begin(self, client, properties=()):
        peer = self.raw()
        peer.send(wire.connect(f"{self.unique}-{client.user}", properties=[
            (wire.AUTH_METHOD, METHOD), (wire.AUTH_DATA, client.first()), *properties]))
        return peer

    @staticmethod
    def auth(peer, code, data, method=METHOD):
        peer.send(wire.auth(code, [(wire.AUTH_METHOD, method), (wire.AUTH_DATA, data)]))

    def connected(self, client):
        peer = self.begin(client)
        challenge = peer.expect(wire.AUTH, code=0x18).one(wire.AUTH_DATA)
        self.auth(peer, 0x18, client.final(challenge))
        connack = peer.expect(wire.CONNACK, code=0)
        self.assertTrue(client.proves(connack.one(wire.AUTH_DATA)))
        return peer

    def failures(self):
        return self.server.metrics()["millrace_authentication_failures_total"]

    def test_users_made_by_millrace_passwd_come_in(self):
        for client in (Scram("ann", "secret"), Scram("bob", "b=,b", "y,,"),
                       Scram("ann", "secret", "n,a=ann,")):
            self.connected(client)

    def test_rights_are_those_of_the_proven_name(self):
        peer = self.connected(Scram("ann", "secret"))
        self.assertEqual(peer.publish("denied/x", b"", qos=1).code, 0x87)
        self.assertEqual(peer.publish("open/x", b"", qos=1).code, 0x10)

    def test_a_name_and_a_password_beside_it_count_for_nothing(self):
        before = self.failures()
        peer = self.raw()
        peer.send(wire.connect(self.unique, username="bob", password="b=,b", properties=[
            (wire.AUTH_METHOD, METHOD), (wire.AUTH_DATA, Scram("ann", "wrong").first())]))
        challenge = peer.expect(wire.AUTH, code=0x18).one(wire.AUTH_DATA)
        self.auth(peer, 0x18, Scram("ann", "wrong").final(challenge))
        self.assertEqual(peer.expect(wire.CONNACK, session_present=0).code, 0x87)
        peer.expect_end()
        self.assertEqual(self.failures(), before + 1)

    def test_an_unknown_user_is_challenged_like_any_other(self):
        salts = set()
        for _ in range(2):
            client = Scram("nobody", "secret")
            peer = self.begin(client)
            challenge = peer.expect(wire.AUTH, code=0x18).one(wire.AUTH_DATA)
            salts.add(challenge.decode().split(",")[1])
            self.auth(peer, 0x18, client.final(challenge))
            peer.expect(wire.CONNACK, code=0x87)
            peer.expect_end()
        self.assertEqual(len(salts), 1)

    def test_another_nonce_or_an_old_answer_proves_nothing(self):
        client = Scram("ann", "secret")
        peer = self.begin(client)
        challenge = peer.expect(wire.AUTH, code=0x18).one(wire.AUTH_DATA)
        answer = client.final(challenge)
        self.auth(peer, 0x18, client.final(challenge, nonce=client.nonce + "other"))
        peer.expect_refused(0x87)
        replayed = self.begin(client)
        self.assertNotEqual(replayed.expect(wire.AUTH, code=0x18).one(wire.AUTH_DATA), challenge)
        self.auth(replayed, 0x18, answer)
        replayed.expect_refused(0x87)

    def test_what_is_no_client_first_message_is_refused(self):
        for header in ("p=tls-unique,,", "n,a=bob,", "", "n,"):
            self.begin(Scram("ann", "secret", header)).expect_refused(0x87)

    def test_a_client_may_leave_in_the_middle(self):
        peer = self.begin(Scram("ann", "secret"))
        peer.expect(wire.AUTH, code=0x18)
        peer.disconnect()

    def test_an_exchange_has_one_step_at_a_time(self):
        peer = self.connected(Scram("ann", "secret"))
        self.auth(peer, 0x18, b"c=biws,r=x,p=x")  # No challenge is open.
        peer.expect_fault(0x82)
        peer = self.connected(Scram("ann", "secret"))
        self.auth(peer, 0x19, Scram("ann", "secret").first())
        peer.expect(wire.AUTH, code=0x18)
        self.auth(peer, 0x19, Scram("ann", "secret").first())
        peer.expect_fault(0x82)
        peer = self.begin(Scram("ann", "secret"))
        peer.expect(wire.AUTH, code=0x18)
        self.auth(peer, 0x19, Scram("ann", "secret").first())
        peer.expect_refused(0x82)

    def test_nobody_becomes_somebody_else(self):
        peer = self.connected(Scram("ann", "secret"))
        self.auth(peer, 0x19, Scram("bob", "b=,b").first())
        peer.expect_fault(0x87)

    def test_guesses_of_one_name_wait_longer_each_time_and_its_owner_comes_in(self):
        def one_more_has_waited():
            client = Scram("bob", "guess")
            peer = self.begin(client)
            challenge = peer.expect(wire.AUTH, code=0x18).one(wire.AUTH_DATA)
            self.auth(peer, 0x18, client.final(challenge))
            peer.expect_refused(0x87)
            return delayed() >= before + 2

        def delayed():
            return self.server.metrics()["millrace_password_checks_delayed_total"]
        before = delayed()
        # A guess waits only if it comes sooner than its delay, which doubles: on a slow machine the
        # first ones may come too late for theirs.
        eventually(one_more_has_waited, "two guesses had to wait")
        self.connected(Scram("bob", "b=,b"))

    def test_names_without_a_proof_do_not_come_in(self):
        peer = self.raw()
        peer.send(wire.connect(self.unique, username="ann", password="secret"))
        peer.expect_refused(0x87)


class Again(Users):
    @classmethod
    def config(cls):
        passwd("--scram", cls.file("scram"), "ann", "secret")
        return {"access": {"scram_file": cls.file("scram")}}

    def test_a_user_who_is_gone_is_disconnected_and_not_let_in_by_an_old_challenge(self):
        peer = Exchanges.connected(self, Scram("ann", "secret"))
        client = Scram("ann", "secret")
        late = self.begin(client)
        challenge = late.expect(wire.AUTH, code=0x18).one(wire.AUTH_DATA)
        passwd("--scram", self.file("scram"), "bob", "b")
        subprocess.run([binary(), "passwd", "-D", self.file("scram"), "ann"], check=True)
        self.assertEqual(self.server.reload(), "reloaded")
        peer.expect_fault(0x87)
        self.auth(late, 0x18, client.final(challenge))
        late.expect_refused(0x87)

    begin, auth = Exchanges.begin, staticmethod(Exchanges.auth)


class Passwords(Users):
    @classmethod
    def config(cls):
        passwd("-I", SLOW_ITERATIONS, cls.file("passwords"), "ann", "secret")
        return {"threads": {"io": 1},
                "access": {"password_file": cls.file("passwords"), "allow_anonymous": True,
                           "password_checks_max": 2}}

    def waiting(self):
        return self.server.metrics()["millrace_password_checks_waiting"]

    def checked(self):
        return self.server.metrics()["millrace_password_checks_total"]

    def come(self, version=5):
        peer = self.raw(version)
        peer.send(wire.connect(f"{self.unique}-{next(_count)}", version=version, username="ann", password="secret"))
        return peer

    def test_others_are_served_while_a_password_is_checked(self):
        other = self.peer()

        def rounds_meanwhile():
            """How often another client has its answer while a password is being checked."""
            before, rounds = self.checked(), 0
            slow = self.come()
            eventually(lambda: self.waiting() == 1 or self.checked() > before, "the password is being checked")
            while self.waiting() == 1:
                other.publish(self.topic(), b"", qos=1)
                rounds += 1
            slow.expect(wire.CONNACK, code=0)
            return rounds
        # It would be 1 if the I/O thread checked the password. Who has no turn meanwhile tries again.
        eventually(lambda: rounds_meanwhile() > 10, "others are served")

    def test_what_comes_behind_connect_waits_and_is_not_lost(self):
        for version in (4, 5):
            for right in (True, False):
                peer = self.raw(version)
                behind = b"".join(wire.publish(self.topic(), bytes([i]) * 100, 1, i + 1,
                                               version=version) for i in range(200))
                peer.send(wire.connect(f"{self.unique}-{version}", version=version, username="ann",
                                       password="secret" if right else "wrong") + wire.pingreq() +
                          wire.subscribe(1000, [(self.topic(), 0)], version=version) + behind)
                if not right:
                    peer.expect_refused(0x86 if version == 5 else 4)
                    continue
                peer.expect(wire.CONNACK, code=0)
                kinds = [peer.next() for _ in range(402)]
                self.assertCountEqual([p.kind for p in kinds if p.kind > wire.PUBACK],
                                      [wire.PINGRESP, wire.SUBACK])
                self.assertEqual([p.payload[0] for p in kinds if p.kind == wire.PUBLISH],
                                 list(range(200)))
                self.assertEqual([p.pid for p in kinds if p.kind == wire.PUBACK],
                                 list(range(1, 201)))

    def test_a_large_message_behind_connect_arrives(self):
        reader = self.peer()
        reader.subscribe(self.topic())
        peer = self.raw()
        peer.send(wire.connect(self.unique, username="ann", password="secret"),
                  wire.publish(self.topic(), b"x" * 1_000_000))
        peer.expect(wire.CONNACK, code=0)
        reader.receive(payload=b"x" * 1_000_000)

    def test_more_than_the_limit_are_told_that_the_server_is_busy(self):
        waiting, refused = [], self.server.metrics()["millrace_password_checks_refused_total"]

        def is_refused(version, code):
            """The line has room for two, and who found some waits in it, too."""
            while self.waiting() < 2:
                waiting.append(self.come())
            late = self.come(version)
            got = late.next()
            if got.code == code:
                late.expect_end()
            else:
                self.assertEqual(got.code, 0)
            return got.code == code
        for version, code in ((5, 0x89), (4, 3)):
            eventually(lambda: is_refused(version, code), "one comes while the line is full")
        self.peer()  # A client without a password is accepted.
        codes = [peer.next().code for peer in waiting]
        self.assertEqual(set(codes) - {0, 0x89}, set())
        self.assertEqual(self.server.metrics()["millrace_password_checks_refused_total"],
                         refused + 2 + codes.count(0x89))

    def test_clients_that_do_not_wait_leave_nothing_behind(self):
        for _ in range(2):
            before = self.checked() + self.waiting()
            peer = self.come()
            eventually(lambda: self.checked() + self.waiting() > before, "the password is being checked")
            peer.abort()
        eventually(lambda: self.waiting() == 0, "all were checked")
        eventually(lambda: self.connections("open") == 0, "all have gone")


class Guesses(Users):
    """Somebody who tries passwords by the dozen delays nobody but himself."""
    STRANGERS = 20

    @classmethod
    def config(cls):
        passwd("-I", SLOW_ITERATIONS // 10, cls.file("passwords"), "ann", "secret")
        passwd("-I", 1, cls.file("passwords"), "bob", "b")
        return {"access": {"password_file": cls.file("passwords")}}

    def metric(self, name):
        return self.server.metrics()["millrace_password_checks_" + name]

    def stranger(self, number):
        sock = socket.create_connection(("127.0.0.1", self.server.mqtt_port),
                                        source_address=("127.0.0.2", 0))
        peer = Peer(None, sock=sock)
        self.addCleanup(peer.close)
        peer.send(wire.connect(f"{self.unique}-{number}", username="ann", password="guess"))
        return peer

    def test_clients_of_other_addresses_come_in_before_them(self):
        before = self.metric("total")
        strangers = [self.stranger(number) for number in range(self.STRANGERS)]
        eventually(lambda: self.metric("waiting") > self.STRANGERS / 2, "many guesses wait")
        peer = self.raw()
        peer.send(wire.connect(self.unique, username="bob", password="b"))
        peer.expect(wire.CONNACK, code=0)
        self.assertGreater(self.metric("waiting"), self.STRANGERS / 4)
        for stranger in strangers:
            stranger.abort()
        eventually(lambda: self.metric("waiting") == 0, "their places are free")
        # And nothing was computed for most of them.
        self.assertLess(self.metric("total") - before, self.STRANGERS)

    def test_guesses_of_one_name_wait_longer_each_time_and_its_owner_comes_in(self):
        def one_more_has_waited():
            peer = self.raw()
            peer.send(wire.connect(f"{self.unique}-guess", username="bob", password="guess"))
            peer.expect_refused(0x86)
            return self.metric("delayed_total") >= before + 2
        before = self.metric("delayed_total")
        eventually(one_more_has_waited, "two guesses had to wait")  # as with SCRAM, above
        peer = self.raw()
        peer.send(wire.connect(self.unique, username="bob", password="b"))
        peer.expect(wire.CONNACK, code=0)


if __name__ == "__main__":
    main()
