import MeshAgent
import MeshCore
import Testing

struct NoticeTests {
    @Test func aMembersChangeIsOneLine() throws {
        let member = Member(id: try member("n2"), status: .suspect, stage: .serving, endpoint: .loopback(port: 7946))
        let notice = AgentNotice(time: 1_700_000_000_123, kind: .agent(.member(member, epoch: 12)))
        #expect(
            notice.jsonLine
                == #"{"time":1700000000123,"event":"member","member":"n2","status":"suspect","address":"127.0.0.1:7946","epoch":12,"role":"node","stage":"serving"}"#
        )
    }

    @Test func readinessTellsWhereToGo() {
        let addresses = BoundAddresses(endpoint: .loopback(port: 1), client: .unix("/run/c.sock"), admin: .tcp(.loopback(port: 2)))
        #expect(
            AgentNotice(time: 5, kind: .ready(addresses)).jsonLine
                == #"{"time":5,"event":"ready","address":"127.0.0.1:1","client":"unix:/run/c.sock","admin":"127.0.0.1:2"}"#)
        #expect(
            AgentNotice(time: 5, kind: .ready(BoundAddresses(endpoint: .loopback(port: 1)))).jsonLine
                == #"{"time":5,"event":"ready","address":"127.0.0.1:1"}"#)
    }

    @Test func everyEventHasItsName() {
        func line(_ event: AgentEvent) -> String { AgentNotice(time: 1, kind: .agent(event)).jsonLine }
        #expect(line(.serving) == #"{"time":1,"event":"serving"}"#)
        #expect(line(.discarded(sessions: 3)) == #"{"time":1,"event":"discarded","sessions":3}"#)
        #expect(line(.handOffUnfinished(slots: 4)) == #"{"time":1,"event":"hand-off-unfinished","slots":4}"#)
        #expect(line(.mirrorLost("no route\n\"x\"")) == #"{"time":1,"event":"mirror-lost","reason":"no route\n\"x\""}"#)
        #expect(line(.mirrorStale) == #"{"time":1,"event":"mirror-stale"}"#)
        #expect(line(.mirrorBack) == #"{"time":1,"event":"mirror-back"}"#)
        #expect(line(.newLife(Life(rawValue: 255))) == #"{"time":1,"event":"new-life","life":"ff"}"#)
    }

    @Test func textIsEscapedSoThatALineStaysALine() {
        #expect(JSON.text("a\u{0}\u{1F}\u{7F}\"\\\r\n é").line == #""a\u0000\u001f\u007f\"\\\u000d\n é""#)
        #expect(JSON.number(UInt64.max).line == #""18446744073709551615""#)
        #expect(JSON.array([.null, .bool(true), .bool(false), .number(Int64.min)]).line == "[null,true,false,-9223372036854775808]")
        #expect(JSON.object([("a", .array([])), ("b", nil), ("c", .null)]).line == #"{"a":[],"c":null}"#)
    }
}
