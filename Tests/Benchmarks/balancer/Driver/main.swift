// Runs a balancer in front of two origins until its standard input ends.
//
//   balancer-driver COOKIES-FILE ORIGIN-PORT ORIGIN-PORT
//
// Prints the port it listens on, writes 64 signed cookie values to the file, and prints its counters at the end.

import Glibc
import MeshBalancer
import MeshCore

func say(_ text: String) {
    let line = Array((text + "\n").utf8)
    _ = write(2, line, line.count)
}

let arguments = CommandLine.arguments
guard arguments.count == 4, let first = UInt16(arguments[2]), let second = UInt16(arguments[3]) else {
    say("usage: balancer-driver COOKIES-FILE ORIGIN-PORT ORIGIN-PORT")
    exit(64)
}

let key = CookieKey(number: 1, secret: Array(repeating: 9, count: 32))
var view = MeshView()
for (index, port) in [first, second].enumerated() {
    let id = MemberID(name: try NodeName("n\(index)"), life: Life(rawValue: 1))
    view.members.append(Member(id: id, stage: .serving, endpoint: .loopback(port: 7946)))
    view.instances.append(Instance(node: id, number: 1, service: "web", address: "127.0.0.1:\(port)"))
}
let table = RoutingTable(view: view, placement: PlacementTable(view.placementCandidates), service: "web", cookieRing: [key])

guard let codec = CookieCodec(ring: [key]), let file = fopen(arguments[1], "w") else {
    say("can't write \(arguments[1])")
    exit(73)
}
var secrets = SecretGenerator(seed: [1])
var cookies: [[UInt8]] = []
for _ in 0..<64 {
    guard let id = SessionID(bytes: secrets.next()) else { continue }
    fputs(codec.value(for: id) + "\n", file)
    cookies.append(Array("GET / HTTP/1.1\r\nHost: a\r\nCookie: theme=dark; sid=\(codec.value(for: id))\r\n\r\n".utf8))
}
fclose(file)

// What stickiness costs in user time: the first look at each cookie against a later one.
if var affinity = table.affinity {
    func nanoseconds(_ body: () -> Void) -> Double {
        let clock = ContinuousClock()
        return Double(clock.measure(body).nanoseconds)
    }
    var scanner = HeadScanner()
    var slots = 0
    func readAll() {
        for cookie in cookies {
            cookie.withUnsafeBytes { raw in
                _ = scanner.scanRequest(raw)
                if case .slot = affinity.read(raw, fields: scanner.fields) { slots += 1 }
            }
        }
    }
    let verified = nanoseconds(readAll) / 64
    let remembered = nanoseconds { for _ in 0..<1000 { readAll() } } / 64_000
    say(
        "cookie to slot: \(Int(verified)) ns when verified (cold), head scan and look-up \(Int(remembered)) ns when remembered (\(slots))")
}

let balancer = try Balancer(BalancerConfiguration(listen: .loopback(port: 0)), table: table) { say($0) }
let port = Array("\(balancer.address.port)\n".utf8)
_ = write(1, port, port.count)
while getchar() != EOF {}
let counters = balancer.counters
say(
    "counters: \(counters.requests) requests, sticky \(counters.sticky.hit) hit \(counters.sticky.new) new, "
        + "\(counters.upstreamsDialled) instance connections, retries \(counters.retries.total), 5xx \(counters.answers[5])")
