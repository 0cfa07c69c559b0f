#if Redis
    import MeshCore
    import Testing

    @testable import MeshMirrors

    @Suite struct RedisSlotMapTests {
        @Test(arguments: [
            ("123456789", 0x31C3), ("foo", 12182), ("", 0), ("{user1000}.following", 3443), ("{user1000}.followers", 3443),
            ("user1000", 3443),
            ("foo{bar}{zap}", 5061), ("bar", 5061),
        ])
        func keysHaveTheSlotsThatRedisGivesThem(_ key: String, _ slot: Int) {
            #expect(RedisSlotMap.slot(of: Array(key.utf8)) == slot)
        }

        @Test func emptyBracesAndUnclosedOnesAreNoTag() {
            for key in ["foo{}{bar}", "foo{bar", "foo}bar{"] {
                let bytes = Array(key.utf8)
                #expect(RedisSlotMap.slot(of: bytes) != RedisSlotMap.slot(of: Array("bar".utf8)), "\(key)")
            }
            #expect(RedisSlotMap.slot(of: Array("foo{{bar}}zap".utf8)) == RedisSlotMap.slot(of: Array("{bar".utf8)))
        }

        @Test func mastersAreReadAndThoseWithoutANameAreWhoAnswered() throws {
            let map = try RedisSlotMap(
                .array([
                    .range(0, 99, .bytes(Array("10.0.0.1".utf8)), 7000), .range(100, 199, .null, 7001), .range(200, 299, .bytes([]), 7002),
                    .range(300, 399, .bytes(Array("::1".utf8)), 7003),
                ]), from: "asked.example")
            let found = [0, 99, 100, 299, 399, 400, 16383].map { map.master(of: $0).map { "\($0)" } }
            #expect(found == ["10.0.0.1:7000", "10.0.0.1:7000", "asked.example:7001", "asked.example:7002", "[::1]:7003", nil, nil])
        }

        @Test(arguments: [
            RedisReply.null, .integer(1), .array([.null]), .array([.array([.integer(0), .integer(1)])]), .array([.range(0, 16384)]),
            .array([.range(-1, 5)]), .array([.range(7, 5)]), .array([.range(0, 5, .bytes([0]))]), .array([.range(0, 5, .integer(1))]),
            .array([.range(0, 5, .null, 0)]), .array([.range(0, 5, .null, 65536)]), .array([.range(.min, .max)]),
        ])
        func whatIsNoMapIsRefused(_ reply: RedisReply) {
            #expect(throws: RedisSlotMap.Unusable.unreadable) { try RedisSlotMap(reply, from: "h") }
        }

        @Test func aMapWithoutSlotsOrWithTooManyMastersIsRefused() {
            #expect(throws: RedisSlotMap.Unusable.empty) { try RedisSlotMap(.array([]), from: "h") }
            let ranges = (0..<129).map { RedisReply.range($0, $0, .null, 7000 + $0) }
            #expect(throws: RedisSlotMap.Unusable.tooMany) { try RedisSlotMap(.array(ranges), from: "h") }
            #expect(throws: Never.self) { try RedisSlotMap(.array(ranges.dropLast()), from: "h") }
        }

        @Test func eachMasterHasATagOfItsOwnThatStaysWhenOtherSlotsMove() throws {
            var map = try RedisSlotMap(
                .array([
                    .range(0, 5460, .null, 1), .range(5461, 10922, .null, 2), .range(10923, 16382, .null, 3),
                    .range(16383, 16383, .null, 4),
                ]),
                from: "h")
            let tags = map.tags()
            let ports = tags.map { map.master(of: RedisSlotMap.slot(of: Array($0.utf8)))?.port }
            #expect(Set(ports) == [1, 2, 3, 4] && tags.count == 4)
            let kept = Set(tags.map { RedisSlotMap.slot(of: Array($0.utf8)) })
            for slot in 0..<1000 where !kept.contains(slot) { try map.move(slot, to: HostAndPort(host: "h", port: 2)) }
            #expect(map.tags() == tags)
        }
    }

    /// Plays with the rounds alone.
    @Suite struct RedisRoundsTests {
        private let map: RedisSlotMap
        private let a = HostAndPort(host: "a", port: 1)
        private let b = HostAndPort(host: "b", port: 1)

        init() throws {
            map = try RedisSlotMap(.array([.range(0, 9, .bytes([0x61]), 1), .range(10, 19, .bytes([0x62]), 1)]), from: "h")
        }

        @Test func callsGoToTheirMastersAndAnswersComeInTheirOrder() {
            var rounds = RedisRounds(slots: [3, 12, 4, 13])
            #expect(
                rounds.next(map) == [
                    .init(server: a, steps: [.init(call: 0), .init(call: 2)]), .init(server: b, steps: [.init(call: 1), .init(call: 3)]),
                ])
            rounds.received([.integer(1), .integer(3)], to: [.init(call: 1), .init(call: 3)], from: b)
            rounds.received([.integer(0), .integer(2)], to: [.init(call: 0), .init(call: 2)], from: a)
            #expect(rounds.next(map).isEmpty)
            #expect(rounds.answers == [.integer(0), .integer(1), .integer(2), .integer(3)])
        }

        @Test func withoutAMapOrAMasterWhoeverIsKnownIsAsked() {
            var rounds = RedisRounds(slots: [3, 12])
            #expect(rounds.next(nil) == [.init(server: nil, steps: [.init(call: 0), .init(call: 1)])])
            var other = RedisRounds(slots: [3, 25])
            #expect(other.next(map) == [.init(server: a, steps: [.init(call: 0)]), .init(server: nil, steps: [.init(call: 1)])])
        }

        @Test func aCallFollowsItsSlotAndTheMoveIsTold() {
            var rounds = RedisRounds(slots: [3])
            _ = rounds.next(map)
            rounds.received([.error("MOVED 3 c:7")], to: [.init(call: 0)], from: a)
            let moved = rounds.takeMoved()
            #expect(moved.map(\.slot) == [3] && moved.map(\.to) == [HostAndPort(host: "c", port: 7)] && rounds.takeMoved().isEmpty)
            // Also while the map still says otherwise.
            #expect(rounds.next(map) == [.init(server: HostAndPort(host: "c", port: 7), steps: [.init(call: 0)])])
            rounds.received([.integer(5)], to: [.init(call: 0)], from: nil)
            #expect(rounds.answers == [.integer(5)])
        }

        @Test func aCallIsAskedForWhereItsSlotIsGoingAndThereInFullWhenTheScriptIsNew() {
            var rounds = RedisRounds(slots: [3])
            _ = rounds.next(map)
            rounds.received([.error("ASK 3 b:1")], to: [.init(call: 0)], from: a)
            let asking = RedisRounds.Step(call: 0, isAsking: true)
            #expect(rounds.next(map) == [.init(server: b, steps: [asking])] && rounds.takeMoved().isEmpty)
            rounds.received([.error("NOSCRIPT No matching script")], to: [asking], from: b)
            #expect(rounds.next(map) == [.init(server: b, steps: [.init(call: 0, isAsking: true, isInFull: true)])])
        }

        @Test func patienceIsAskedForAndEnds() {
            var rounds = RedisRounds(slots: [3, 4])
            for _ in 0..<RedisRounds.roundsMax {
                let parts = rounds.next(map)
                #expect(parts.count == 1 && !rounds.needsPatience)
                rounds.received([.error("TRYAGAIN later"), .error("CLUSTERDOWN down")], to: parts[0].steps, from: a)
                #expect(rounds.needsPatience)
            }
            #expect(rounds.next(map).isEmpty)
            #expect(rounds.answers == [.error("TRYAGAIN later"), .error("CLUSTERDOWN down")])
        }

        @Test func nodesThatKeepNamingEachOtherAreGivenUp() {
            var rounds = RedisRounds(slots: [3])
            var count = 0
            while let part = rounds.next(map).first {
                rounds.received([.error("MOVED 3 \(part.server == a ? b : a)")], to: part.steps, from: part.server)
                count += 1
            }
            #expect(count == RedisRounds.roundsMax)
            guard case .error(let text)? = rounds.answers.first else { Issue.record("\(rounds.answers)"); return }
            #expect(RedisErrorReply(text).error.code == .unreachable)
        }

        @Test(arguments: [
            ("MOVED 3999 127.0.0.1:6381", RedisRedirection.moved(slot: 3999, to: HostAndPort(host: "127.0.0.1", port: 6381))),
            ("MOVED 3999 :6381", .moved(slot: 3999, to: HostAndPort(host: "h", port: 6381))),
            ("ASK 1 ::1:6381", .asked(HostAndPort(host: "::1", port: 6381))), ("TRYAGAIN Multiple keys", .later),
            ("ERR Script attempted to access a non local key in a cluster node script: x", .later),
            ("NOSCRIPT No matching", .unknownScript),
        ])
        func redirectionsAreRead(_ text: String, _ redirection: RedisRedirection) {
            #expect(RedisRedirection(text, from: "h") == redirection)
        }

        @Test(arguments: [
            "MOVED", "MOVED 1", "MOVED x a:1", "MOVED 16384 a:1", "MOVED -1 a:1", "MOVED 1 a", "MOVED 1 a:", "MOVED 1 a:0",
            "MOVED 1 a:65536",
            "MOVED 1 a b:1", "MOVED 1 \u{0}:1", "ASK 1 a/b:1", "ERR unknown", "WRONGTYPE x", "OOM x", "",
        ])
        func otherErrorsAreAnswers(_ text: String) {
            #expect(RedisRedirection(text, from: "h") == nil)
        }
    }

    extension RedisReply {
        fileprivate static func range(_ first: Int64, _ last: Int64, _ host: RedisReply = .null, _ port: Int64 = 7000) -> RedisReply {
            .array([.integer(first), .integer(last), .array([host, .integer(port), .bytes([])])])
        }
    }
#endif
