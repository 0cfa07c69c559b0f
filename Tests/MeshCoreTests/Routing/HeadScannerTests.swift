import MeshCore
import Testing

@Suite struct HeadScannerTests {
    static func request(_ text: String) -> HeadScanner.Result<RequestHead> {
        var scanner = HeadScanner()
        return Array(text.utf8).withUnsafeBytes { scanner.scanRequest($0) }
    }

    static func head(_ text: String) throws -> RequestHead {
        guard case .head(let head) = request(text) else { throw Unexpected(text: "\(request(text))") }
        return head
    }

    struct Unexpected: Error { let text: String }

    static func fault(_ text: String) -> HeadFault? {
        if case .fault(let fault) = request(text) { fault } else { nil }
    }

    @Test func aRequestIsTakenApart() throws {
        let text =
            "POST /a/b?c HTTP/1.1\r\nhOsT: example.org:8080\r\nContent-Length: 12\r\nConnection: keep-alive\r\nCookie: sid=x\r\nX-Long: \tvalue \t\r\n\r\nbody"
        let head = try Self.head(text)
        let bytes = Array(text.utf8)
        #expect(String(decoding: bytes[head.target], as: UTF8.self) == "/a/b?c")
        #expect(String(decoding: bytes[head.authority], as: UTF8.self) == "example.org:8080")
        #expect(head.method == .post)
        #expect(head.framing == .length(12))
        #expect(head.isPersistent)
        #expect(head.hasCookies)
        #expect(head.byteCount == bytes.count - 4)
    }

    @Test func anyPrefixOfAHeadIsIncompleteAndNothingElse() {
        let text = "\r\nGET http://h/a HTTP/1.1\r\nHost: [::1]:80\r\nX-Y: a\tb\u{e9}\r\nTransfer-Encoding: chunked\r\n\r\n"
        let bytes = Array(text.utf8)
        for count in 0..<bytes.count {
            var scanner = HeadScanner()
            guard case .incomplete = bytes[..<count].withUnsafeBytes({ scanner.scanRequest($0) }) else {
                Issue.record("the first \(count) bytes are not incomplete")
                continue
            }
        }
        guard case .head = Self.request(text) else { return #expect(Bool(false), "the whole is a head") }
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true), ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", false), ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true), ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
    ])
    func whetherTheConnectionIsKept(_ text: String, _ expected: Bool) throws {
        #expect(try Self.head(text).isPersistent == expected)
    }

    static let get = "GET / HTTP/1.1\r\nHost: a\r\n"
    static let faults: [(HeadFault, String)] = [
        // Lengths and codings.
        (.lengthAndTransferEncoding, get + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (.badLength, get + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        (.badLength, get + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
        (.badLength, get + "Content-Length: 1, 1\r\n\r\n"), (.badLength, get + "Content-Length: +5\r\n\r\n"),
        (.badLength, get + "Content-Length: -5\r\n\r\n"), (.badLength, get + "Content-Length: 0x5\r\n\r\n"),
        (.badLength, get + "Content-Length: 5 \r\n\r\n"), (.badLength, get + "Content-Length: \r\n\r\n"),
        (.badLength, get + "Content-Length:\t5\r\n\r\n"), (.badLength, get + "Content-Length: 9223372036854775808\r\n\r\n"),
        (.badLength, get + "Content-Length: 99999999999999999999\r\n\r\n"), (.badLength, get + "Content-Length: 5;\r\n\r\n"),
        (.badTransferEncoding, get + "Transfer-Encoding: xchunked\r\n\r\n"),
        (.badTransferEncoding, get + "Transfer-Encoding: chunked, gzip\r\n\r\n"),
        (.badTransferEncoding, get + "Transfer-Encoding: chunked, chunked\r\n\r\n"),
        (.badTransferEncoding, get + "Transfer-Encoding: identity\r\n\r\n"),
        (.badTransferEncoding, get + "Transfer-Encoding: \r\n\r\n"),
        (.badTransferEncoding, get + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (.badTransferEncoding, get + "Transfer-Encoding:\tchunked\r\n\r\n"),
        (.badTransferEncoding, get + "Transfer-Encoding: \"chunked\"\r\n\r\n"),
        (.badTransferEncoding, "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (.unknownTransferCoding, get + "Transfer-Encoding: gzip, chunked\r\n\r\n"),
        // Lines and characters.
        (.malformed, "GET / HTTP/1.1\nHost: a\n\n"), (.malformed, get + "X: a\n\r\n"), (.malformed, get + "X: a\rb\r\n\r\n"),
        (.malformed, get + "X: a\0b\r\n\r\n"), (.malformed, get + "X: a\u{b}b\r\n\r\n"), (.malformed, get + "X: a\u{c}b\r\n\r\n"),
        (.malformed, get + "X: a\u{7f}\r\n\r\n"), (.malformed, get + "X : a\r\n\r\n"), (.malformed, get + "X\t: a\r\n\r\n"),
        (.malformed, get + ": a\r\n\r\n"), (.malformed, get + "X(: a\r\n\r\n"), (.malformed, get + "novalue\r\n\r\n"),
        (.malformed, get + "X: a\r\n b\r\n\r\n"), (.malformed, get + "X: a\r\n\tb\r\n\r\n"),
        (.malformed, "GET / HTTP/1.1\r\n X: first\r\nHost: a\r\n\r\n"), (.malformed, "GET / HTTP/1.1\r\nX\u{e9}: a\r\n\r\n"),
        // Request lines.
        (.malformed, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), (.malformed, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        (.malformed, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"), (.malformed, "GET /\tHTTP/1.1\r\n\r\n"), (.malformed, "GET /\r\n\r\n"),
        (.malformed, "GET\r\n\r\n"), (.malformed, "G(T / HTTP/1.1\r\n\r\n"), (.malformed, "GET / http/1.1\r\n\r\n"),
        (.malformed, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), (.malformed, "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n"),
        (.malformed, "GET relative HTTP/1.1\r\nHost: a\r\n\r\n"), (.malformed, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (.malformed, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), (.malformed, "GET / HTTP/11\r\n\r\n"),
        (.malformed, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), (.malformed, "\u{16}\u{3}\u{1}\u{2}"),
        (.malformed, String(repeating: "A", count: 33) + " / HTTP/1.1\r\n"),
        (.unsupportedVersion, "PRI * HTTP/2.0\r\n\r\n"), (.unsupportedVersion, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        (.methodNotAllowed, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"), (.methodNotAllowed, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (.unknownExpectation, get + "Expect: a-lot\r\n\r\n"),
        // Hosts.
        (.badHost, "GET / HTTP/1.1\r\n\r\n"), (.badHost, "GET / HTTP/1.1\r\nHost:\r\n\r\n"), (.badHost, get + "Host: a\r\n\r\n"),
        (.badHost, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"), (.badHost, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        (.badHost, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), (.badHost, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (.badHost, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"), (.badHost, "GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n"),
        (.badHost, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), (.badHost, "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"),
        (.badHost, "GET / HTTP/1.1\r\nHost: :80\r\n\r\n"), (.badHost, "GET http://u@h/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (.badHost, "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n"), (.badHost, "GET http://h/ HTTP/1.1\r\n\r\n"),
        (.badHost, "GET / HTTP/1.1\r\nHost: " + String(repeating: "a", count: 513) + "\r\n\r\n"),
        // Limits.
        (.requestLineTooLong, "GET /" + String(repeating: "a", count: 8192) + " HTTP/1.1\r\n"),
        (.requestLineTooLong, "GET /" + String(repeating: "a", count: 9000)),
        (.headTooLarge, get + "X: " + String(repeating: "a", count: 17_000)),
        (.headTooLarge, get + String(repeating: "X: a\r\n", count: 100) + "\r\n"),
        (.headTooLarge, get + String(repeating: "X: " + String(repeating: "a", count: 5000) + "\r\n", count: 7)),
        (.malformed, get + "Connection: " + String(repeating: "a,", count: 33) + "\r\n\r\n"),
    ]

    @Test(arguments: faults.indices) func whatIsWrongIsRefusedForItsReason(_ index: Int) {
        let (fault, text) = Self.faults[index]
        #expect(Self.fault(text) == fault, "\(text.debugDescription.prefix(200))")
    }

    @Test func everyFaultHasAnAnswerOfItsKind() {
        for fault in HeadFault.allCases { #expect((400...505).contains(fault.status)) }
    }

    @Test func onlyAProperHandshakeAsksForATunnel() throws {
        let upgrade = "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: abc\r\n"
        #expect(try Self.head(Self.get + upgrade + "\r\n").asksForWebSocket)
        #expect(try !Self.head(Self.get + "Upgrade: websocket\r\n\r\n").asksForWebSocket)
        #expect(try !Self.head(Self.get + upgrade + "Content-Length: 1\r\n\r\n").asksForWebSocket)
        #expect(try !Self.head("POST / HTTP/1.1\r\nHost: a\r\n" + upgrade + "\r\n").asksForWebSocket)
        #expect(try !Self.head("GET / HTTP/1.0\r\nHost: a\r\n" + upgrade + "\r\n").asksForWebSocket)
    }

    @Test func scannersNeverReadOutsideTheirBytesNorTrap() {
        var generator = SeededGenerator(seed: 3)
        let seed = Array((Self.get + "Cookie: a=b\r\nContent-Length: 5\r\nConnection: x\r\n\r\n").utf8)
        for _ in 0..<20_000 {
            var bytes = seed
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator))
            var scanner = HeadScanner()
            bytes.withUnsafeBytes { raw in
                _ = scanner.scanRequest(raw)
                _ = scanner.scanResponse(raw)
            }
        }
    }

    // MARK: Responses

    static func response(_ text: String) -> HeadScanner.Result<ResponseHead> {
        var scanner = HeadScanner()
        return Array(text.utf8).withUnsafeBytes { scanner.scanResponse($0) }
    }

    @Test func aResponseIsTakenApart() throws {
        guard case .head(let head) = Self.response("HTTP/1.1 200 All \tright\u{e9}\r\nContent-Length: 3\r\n\r\nabc") else {
            return #expect(Bool(false))
        }
        #expect(head.status == 200)
        #expect(head.framing == .length(3))
        #expect(head.isPersistent)
        #expect(BodyFraming.ofResponse(head, to: .get) == .length(3))
        #expect(BodyFraming.ofResponse(head, to: .head) == .none)
    }

    @Test func aResponseWithoutALengthEndsWithItsConnection() {
        for text in ["HTTP/1.1 200\r\n\r\n", "HTTP/1.0 200 OK\r\nServer: x\r\n\r\n"] {
            guard case .head(let head) = Self.response(text) else {
                Issue.record("\(text) is a head")
                continue
            }
            #expect(BodyFraming.ofResponse(head, to: .get) == .untilClose)
        }
    }

    @Test(arguments: [
        "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 600 No\r\n\r\n",
        "HTTP/1.1 200 OK\n\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 200 OK\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ])
    func aMalformedResponseIsRefused(_ text: String) {
        guard case .fault = Self.response(text) else { return #expect(Bool(false), "\(text.debugDescription) is accepted") }
    }
}
