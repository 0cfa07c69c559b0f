import MeshCore
import MetricsTestKit
import Testing

@testable import SessionMesh

@Suite struct SessionTests {
    static let theme = SessionField<String>("theme")
    static let cart = SessionField<[String: Int]>("cart")
    static let visits = SessionCounter("visits")

    static func empty(cookie: String? = nil) -> Session {
        Session(nil, cookie: cookie, meter: SessionMeter(factory: TestMetrics()))
    }

    static func loaded(_ fields: [SessionSnapshot.Field] = [], metrics: TestMetrics = TestMetrics()) throws -> Session {
        let key = try #require(SessionKey(bytes: [UInt8](repeating: 1, count: 32)))
        let snapshot = SessionSnapshot(
            key: key, createdAt: 1, accessedAt: 2, idleSeconds: 60, expiresAt: 9, user: "", fields: fields, primary: try NodeName("n1"),
            backup: nil)
        return Session(snapshot, cookie: "c", meter: SessionMeter(factory: metrics))
    }

    static func commit(_ session: inout Session) throws -> SessionCommit {
        guard case .commit(let commit)? = try session.commitRequest(.replicated) else { throw SessionError(.invalid, "not a commit") }
        return commit
    }

    @Test func aSessionThatWasOnlyReadAsksForNothing() throws {
        var session = Self.empty()
        #expect(session[Self.theme] == nil)
        #expect(session[Self.visits] == 0)
        session.remove(Self.theme)
        session.bind(user: nil)
        session.regenerate()
        #expect(!session.hasChanges)
        #expect(try session.commitRequest(.replicated) == nil)
    }

    @Test func settingWhatIsThereAlreadyIsNoChange() throws {
        var session = try Self.loaded([.init(name: "cart", value: .bytes(Array(#"{"a":1,"b":2}"#.utf8)))])
        session[Self.cart] = ["b": 2, "a": 1]
        #expect(!session.hasChanges)
        session[Self.cart]?["a"] = 5
        #expect(try Self.commit(&session).changes == [.set("cart", Array(#"{"a":5,"b":2}"#.utf8))])
    }

    @Test func changesAreFieldByFieldInTheOrderOfNames() throws {
        var session = try Self.loaded([
            .init(name: "theme", value: .bytes(Array(#""dark""#.utf8))), .init(name: "visits", value: .integer(4)),
        ])
        session.increment(Self.visits, by: 3)
        session.increment(Self.visits, by: -1)
        session[Self.theme] = nil
        session[Self.cart] = [:]
        session.bind(user: "ann")
        session.expire(afterIdle: .seconds(90))
        #expect(session[Self.visits] == 6)
        #expect(session.user == "ann")
        let commit = try Self.commit(&session)
        #expect(commit.changes == [.set("cart", Array("{}".utf8)), .remove("theme"), .increment("visits", by: 2)])
        #expect(commit.user == "ann")
        #expect(commit.idleSeconds == 90)
        #expect(!commit.regenerate)
    }

    @Test func aRemovedCounterStartsAgainAtZero() throws {
        var session = try Self.loaded([.init(name: "visits", value: .integer(4))])
        session.remove(Self.visits)
        session.increment(Self.visits)
        #expect(session[Self.visits] == 1)
        #expect(try Self.commit(&session).changes == [.remove("visits"), .increment("visits", by: 1)])
    }

    @Test func committingAgainKeepsTheIdAndChangingInBetweenDoesNot() throws {
        var session = try Self.loaded()
        session.increment(Self.visits)
        let first = try Self.commit(&session)
        #expect(try Self.commit(&session) == first)
        session.increment(Self.visits)
        #expect(try Self.commit(&session).id != first.id)
    }

    // Ancestors' scenario 43.
    @Test func aFieldIsJSONUnlessItsCodecSaysOtherwise() throws {
        let plain = SessionField<String>("plain", codec: .text)
        let size = SessionField<Int>("size", codec: .text)
        let raw = SessionField<[UInt8]>("raw", codec: .bytes)
        let flipped = SessionField<[UInt8]>("flipped", codec: FieldCodec(encode: { $0.reversed() }, decode: { $0.reversed() }))
        var session = try Self.loaded()
        session[Self.theme] = "100% + tax"
        session[plain] = "100% + tax"
        session[size] = -7
        session[raw] = [0, 255]
        session[flipped] = [1, 2]
        let changes = try Self.commit(&session).changes
        #expect(
            changes == [
                .set("flipped", [2, 1]), .set("plain", Array("100% + tax".utf8)), .set("raw", [0, 255]), .set("size", Array("-7".utf8)),
                .set("theme", Array(#""100% + tax""#.utf8)),
            ])
        #expect(session[Self.theme] == "100% + tax" && session[plain] == "100% + tax")
        #expect(session[size] == -7 && session[raw] == [0, 255] && session[flipped] == [1, 2])
    }

    @Test func aFieldThatCannotBeReadIsNilIsCountedByItsNameAndTheRestLives() throws {
        let metrics = TestMetrics()
        let unreadable = "sessionmesh_client_unreadable_fields_total"
        var session = try Self.loaded(
            [
                .init(name: "cart", value: .bytes(Array(#"{"a":"one"}"#.utf8))), .init(name: "n", value: .bytes(Array("x1".utf8))),
                .init(name: "theme", value: .integer(1)), .init(name: "title", value: .bytes([0xFF])),
                .init(name: "visits", value: .integer(1)), .init(name: "wrong", value: .bytes([1])),
            ], metrics: metrics)
        #expect(session[Self.cart] == nil && session[Self.cart] == nil)
        #expect(session[SessionField<Int>("n", codec: .text)] == nil)
        #expect(session[SessionField<String>("title", codec: .text)] == nil)
        #expect(session[Self.theme] == nil)
        #expect(session[SessionCounter("wrong")] == 0)
        #expect(session[SessionField<Int>("missing")] == nil)
        #expect(session[Self.visits] == 1)
        for (field, count) in [("cart", 2), ("n", 1), ("title", 1), ("theme", 1), ("wrong", 1), ("missing", 0), ("visits", 0)] {
            #expect(metrics.counterTotal(label: unreadable, dimensions: [("field", field)]) == count, "\(field)")
        }
        #expect(!session.hasChanges)
        session[Self.cart] = ["a": 1]
        #expect(session[Self.cart] == ["a": 1])
        #expect(try Self.commit(&session).changes == [.set("cart", Array(#"{"a":1}"#.utf8))])
    }

    @Test func namesBeyondTheTablesBoundAreCountedAsOther() throws {
        let metrics = TestMetrics()
        let names = (0..<SessionMeter.fieldNamesMax + 3).map { "f\($0)" }
        let session = try Self.loaded(names.map { .init(name: $0, value: .bytes([])) }, metrics: metrics)
        for name in names + names { #expect(session[SessionField<String>(name)] == nil) }
        let label = "sessionmesh_client_unreadable_fields_total"
        #expect(metrics.counters(label: label).count == SessionMeter.fieldNamesMax + 1)
        #expect(metrics.counterTotal(label: label, dimensions: [("field", "f0")]) == 2)
        #expect(metrics.counterTotal(label: label, dimensions: [("field", "other")]) == 6)
    }

    @Test func anErrorOfACodecQuotesNothingOfWhatTheSessionHolds() throws {
        struct Quoting: Error { let secret = "canary" }
        var session = try Self.loaded()
        session[SessionField<Int>("n", codec: FieldCodec(encode: { _ in throw Quoting() }, decode: { _ in throw Quoting() }))] = 1
        let error = #expect(throws: SessionError.self) { try session.commitRequest(.replicated) }
        #expect(error?.code == .invalid && error?.isRetriable == false)
        #expect(error?.description.contains("canary") == false && error?.description.contains("field n") == true)
    }

    @Test func whatCanNotBeEncodedFailsTheCommit() throws {
        var session = try Self.loaded()
        session[SessionField<Double>("d")] = .nan
        #expect(throws: SessionError.self) { try session.commitRequest(.replicated) }
        var full = try Self.loaded([.init(name: "visits", value: .integer(.max))])
        full.increment(Self.visits)
        #expect(throws: SessionError.self) { try full.commitRequest(.replicated) }
    }

    @Test func everyTokenOfASessionIsAcceptedAndNoneShowsTheSecret() throws {
        var session = try Self.loaded()
        let tokens = (0..<20).map { _ in session.csrfToken() }
        #expect(Set(tokens).count == 20 && tokens.allSatisfy { $0.utf8.count == 86 && session.accepts(csrfToken: $0) })
        guard case .set("csrf", let secret)? = try Self.commit(&session).changes.first else {
            Issue.record("the secret is not in the session")
            return
        }
        #expect(secret.count == 32 && Set(secret).count > 8)
        let text = String(decoding: Base64URL.encode(secret), as: UTF8.self)
        #expect(!tokens.contains { $0.contains(text.prefix(12)) })
        var other = try Self.loaded([.init(name: "csrf", value: .bytes(secret))])
        #expect(other.accepts(csrfToken: tokens[0]))
        _ = other.csrfToken()
        #expect(!other.hasChanges)
    }

    @Test func aTokenWithAnyBitFlippedOrCutOrOfAnotherSessionIsRefused() throws {
        var session = try Self.loaded()
        let token = session.csrfToken()
        let bytes = try #require(Base64URL.decode(token.utf8))
        for bit in 0..<bytes.count * 8 {
            var flipped = bytes
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(!session.accepts(csrfToken: String(decoding: Base64URL.encode(flipped), as: UTF8.self)), "bit \(bit)")
        }
        for count in 0..<token.count { #expect(!session.accepts(csrfToken: token.prefix(count))) }
        #expect(!session.accepts(csrfToken: token + "A") && !session.accepts(csrfToken: token + token))
        var stranger = try Self.loaded()
        #expect(!stranger.accepts(csrfToken: token))
        #expect(!session.accepts(csrfToken: stranger.csrfToken()))
        // A field of that name that is something else is no secret.
        #expect(!(try Self.loaded([.init(name: "csrf", value: .bytes([]))]).accepts(csrfToken: "")))
    }

    @Test func regeneratingEndsTheTokensOfTheOldId() throws {
        var session = try Self.loaded([.init(name: "csrf", value: .bytes([UInt8](repeating: 7, count: 32)))])
        let old = session.csrfToken()
        session.regenerate()
        #expect(!session.accepts(csrfToken: old))
        #expect(try Self.commit(&session).changes == [.remove("csrf")])
        let new = session.csrfToken()
        #expect(session.accepts(csrfToken: new) && !session.accepts(csrfToken: old))
        #expect(try Self.commit(&session).regenerate)
    }

    // MARK: Maxima and sets

    static let seen = SessionMaximum("seen")
    static let roles = SessionSet<String>("roles")
    static let tags = SessionSet<Int>("tags", codec: .text)

    @Test func aMaximumIsSentOnlyWhenItRises() throws {
        var session = try Self.loaded([.init(name: "seen", value: .integer(5))])
        #expect(session[Self.seen] == 5 && session[SessionMaximum("other")] == nil)
        session.raise(Self.seen, to: 5)
        session.raise(Self.seen, to: -1)
        #expect(!session.hasChanges)
        session.raise(Self.seen, to: 9)
        session.raise(Self.seen, to: 7)
        session.raise(SessionMaximum("other"), to: .min)
        #expect(session[Self.seen] == 9 && session[SessionMaximum("other")] == .min)
        #expect(try Self.commit(&session).changes == [.raise("other", to: .min), .raise("seen", to: 9)])
        session.remove(Self.seen)
        session.raise(Self.seen, to: 1)
        #expect(session[Self.seen] == 1)
        #expect(try Self.commit(&session).changes.suffix(2) == [.remove("seen"), .raise("seen", to: 1)])
    }

    @Test func aSetIsSentElementByElement() throws {
        func json(_ text: String) -> [UInt8] { Array("\"\(text)\"".utf8) }
        var session = try Self.loaded([.init(name: "roles", value: .elements([json("admin"), json("guest")]))])
        #expect(session[Self.roles] == ["admin", "guest"] && session[Self.tags].isEmpty)
        session.insert("admin", into: Self.roles)
        session.remove("owner", from: Self.roles)
        #expect(!session.hasChanges)
        session.insert("owner", into: Self.roles)
        session.remove("guest", from: Self.roles)
        session.insert(7, into: Self.tags)
        #expect(session[Self.roles] == ["admin", "owner"] && session[Self.tags] == [7])
        #expect(
            try Self.commit(&session).changes
                == [.erase("roles", json("guest")), .insert("roles", json("owner")), .insert("tags", Array("7".utf8))])
        session.insert("guest", into: Self.roles)
        session.remove(Self.tags)
        #expect(try Self.commit(&session).changes == [.insert("roles", json("guest")), .insert("roles", json("owner")), .remove("tags")])
        #expect(session[Self.roles] == ["admin", "guest", "owner"] && session[Self.tags].isEmpty)
    }

    @Test func elementsThatCannotBeReadAreLeftOutAndCounted() throws {
        let metrics = TestMetrics()
        let session = try Self.loaded(
            [
                .init(name: "roles", value: .elements([[0xFF], Array(#""admin""#.utf8)])), .init(name: "tags", value: .integer(1)),
                .init(name: "theme", value: .elements([])), .init(name: "seen", value: .bytes([])),
            ], metrics: metrics)
        #expect(session[Self.roles] == ["admin"] && session[Self.tags].isEmpty && session[Self.theme] == nil && session[Self.seen] == nil)
        for field in ["roles", "tags", "theme", "seen"] {
            #expect(metrics.counterTotal(label: "sessionmesh_client_unreadable_fields_total", dimensions: [("field", field)]) == 1)
        }
    }

    // MARK: For the next page

    @Test func whatWasLeftForTheNextPageIsTakenAndNothingElse() throws {
        var session = try Self.loaded()
        session.flash(Self.theme, "saved")
        #expect(session[Self.theme] == nil)
        #expect(try Self.commit(&session).changes == [.set("~theme", Array(#""saved""#.utf8))])

        let left = Array(#""saved""#.utf8)
        var next = try Self.loaded([
            .init(name: "theme", value: .bytes(Array(#""dark""#.utf8))), .init(name: "~theme", value: .bytes(left)),
        ])
        #expect(next.take(Self.theme) == "saved" && next.take(Self.theme) == nil)
        #expect(next[Self.theme] == "dark")
        #expect(try Self.commit(&next).changes == [.drop("~theme", left)])
        // What is left after it is for the page after.
        next.flash(Self.theme, "again")
        #expect(try Self.commit(&next).changes == [.set("~theme", Array(#""again""#.utf8))])
        #expect(next.take(Self.theme) == "again")
        #expect(try Self.commit(&next).changes == [.drop("~theme", left)])
    }

    @Test func whatIsLeftAndTakenInOneRequestIsNotSent() throws {
        var session = try Self.loaded()
        session.flash(Self.theme, "saved")
        #expect(session.take(Self.theme) == "saved")
        #expect(!session.hasChanges && session.take(Self.theme) == nil)
    }

    // MARK: Expiry

    @Test func aSessionSaysHowItExpires() throws {
        var session = try Self.loaded()
        session.expire(afterIdle: .milliseconds(1), isRolling: false)
        session.expire(after: .seconds(3600))
        let commit = try Self.commit(&session)
        #expect(commit.idleSeconds == 1 && commit.isRolling == false && commit.absoluteSeconds == 3600 && commit.changes.isEmpty)
        var other = try Self.loaded()
        other.expire(afterIdle: .seconds(60))
        #expect(try Self.commit(&other).isRolling == nil)
    }

    @Test func destroyingANewSessionAsksForNothing() throws {
        var session = Self.empty(cookie: "c")
        session[Self.theme] = "dark"
        session.destroy()
        #expect(try session.commitRequest(.replicated) == nil)
    }
}

@Suite struct SessionCookieTests {
    @Test func theNameHasTheHostPrefixOnlyWhenAlwaysSecure() {
        #expect(SessionCookie(secure: .auto).name == "sid")
        #expect(SessionCookie(secure: .never).name == "sid")
        #expect(SessionCookie(secure: .always).name == "__Host-sid")
        #expect(SessionCookie(secure: .always, customName: "shop").name == "shop")
    }

    @Test func secureFollowsTheSettingAndTheForwardedProtocol() {
        for (secure, proto, expected) in [
            (SessionCookie.Secure.auto, "https", true), (.auto, "HTTPS", true), (.auto, "http", false), (.auto, nil, false),
            (.always, "http", true), (.never, "https", false),
        ] {
            #expect(SessionCookie(secure: secure).isSecure(forwardedProto: proto) == expected)
        }
    }

    @Test func theValueIsFoundAmongOthers() {
        let cookie = SessionCookie()
        #expect(cookie.value(inCookieHeader: "a=1; sid=x.1.y ;b=2") == "x.1.y")
        #expect(cookie.value(inCookieHeader: "sid=a=b; sid=c") == "a=b")
        #expect(cookie.value(inCookieHeaders: ["x=1", "sid=2"]) == "2")
        #expect(cookie.value(inCookieHeader: "xsid=1; SID=2; sid") == nil)
        #expect(cookie.value(inCookieHeader: "") == nil)
        #expect(cookie.value(inCookieHeader: nil) == nil)
        #expect(cookie.value(inCookieHeader: ";;=;sid=") == "")
    }

    @Test func theHeaderGuardsTheCookie() {
        #expect(SetCookie(name: "sid", value: "v", isSecure: false).description == "sid=v; Path=/; HttpOnly; SameSite=Lax")
        #expect(
            SetCookie(name: "__Host-sid", value: "", isSecure: true, maxAge: .zero).description
                == "__Host-sid=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0")
        #expect(
            SetCookie(name: "sid", value: "v", isSecure: false, maxAge: .milliseconds(90_500)).description
                == "sid=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=90")
    }
}

@Suite struct SessionMeshConfigurationTests {
    @Test func theEnvironmentSaysItAll() throws {
        let configuration = try SessionMeshConfiguration(environment: [
            "SESSIONMESH_AGENT": "unix:/run/mesh.sock", "SESSIONMESH_SERVICE": "shop", "PORT": "8080", "SESSIONMESH_WEIGHT": "3",
            "SESSIONMESH_TOKEN": "t", "SESSIONMESH_COOKIE_SECURE": "always",
        ])
        #expect(configuration.agent == .unix(path: "/run/mesh.sock"))
        #expect(configuration.registration == .init(service: "shop", address: "127.0.0.1:8080", weight: 3))
        #expect(configuration.token == "t")
        #expect(configuration.cookie.name == "__Host-sid")
        #expect(try SessionMeshConfiguration(environment: ["SESSIONMESH_AGENT": "[::1]:7000"]).agent == .tcp(host: "::1", port: 7000))
        #expect(try SessionMeshConfiguration(environment: ["SESSIONMESH_AGENT": "h:1", "PORT": "1"]).registration == nil)
    }

    @Test(arguments: [
        [:], ["SESSIONMESH_AGENT": ""], ["SESSIONMESH_AGENT": "unix:"], ["SESSIONMESH_AGENT": "localhost"], ["SESSIONMESH_AGENT": ":80"],
        ["SESSIONMESH_AGENT": "h:0"], ["SESSIONMESH_AGENT": "h:65536"], ["SESSIONMESH_AGENT": "unix:" + String(repeating: "x", count: 108)],
        ["SESSIONMESH_AGENT": "h:1", "SESSIONMESH_COOKIE_SECURE": "yes"],
        ["SESSIONMESH_AGENT": "h:1", "SESSIONMESH_SERVICE": "s", "PORT": "1", "SESSIONMESH_WEIGHT": "0"],
    ]) func aWrongEnvironmentIsToldInOneLine(_ environment: [String: String]) {
        let error = #expect(throws: SessionError.self) { try SessionMeshConfiguration(environment: environment) }
        #expect(error?.code == .invalid)
        #expect(error?.description.contains("\n") == false)
    }
}
