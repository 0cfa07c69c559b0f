import MeshCore
import Testing

@Suite struct HeadRewriterTests {
    /// Rewrites a request's head with room in front, as a loop does.
    static func rewritten(_ text: String, adding: String) throws -> String {
        let room = 256
        let bytes = Array(repeating: UInt8(ascii: "~"), count: room) + Array(text.utf8)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
        defer { memory.deallocate() }
        memory.copyBytes(from: bytes)
        let base = try #require(memory.baseAddress) + room
        var scanner = HeadScanner()
        guard case .head(let head) = scanner.scanRequest(UnsafeRawBufferPointer(start: base, count: text.utf8.count)) else {
            throw HeadScannerTests.Unexpected(text: text)
        }
        let start = Array(adding.utf8).withUnsafeBytes {
            HeadRewriter.rewrite(base, firstLine: 0..<head.fieldsStart, fields: scanner.fields, adding: $0, end: head.byteCount)
        }
        return String(decoding: memory[(room + start)...], as: UTF8.self)
    }

    @Test func droppedLinesGoAndOursComeRightBehindTheFirst() throws {
        let text =
            "GET / HTTP/1.1\r\nConnection: a, keep-alive\r\nHost: h\r\nA: dropped\r\nB: kept\r\nKeep-Alive: 1\r\nTE: x\r\nC: kept\r\n\r\nbody"
        #expect(try Self.rewritten(text, adding: "") == "GET / HTTP/1.1\r\nHost: h\r\nB: kept\r\nC: kept\r\n\r\nbody")
        #expect(try Self.rewritten(text, adding: "N: 1\r\n") == "GET / HTTP/1.1\r\nN: 1\r\nHost: h\r\nB: kept\r\nC: kept\r\n\r\nbody")
        let long = "N: " + String(repeating: "n", count: 200) + "\r\n"
        #expect(try Self.rewritten(text, adding: long) == "GET / HTTP/1.1\r\n\(long)Host: h\r\nB: kept\r\nC: kept\r\n\r\nbody")
    }

    @Test func whatConnectionNamesIsDroppedButNotWhatTheNextHopReliesOn() throws {
        let text =
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Host, cookie, content-length, X-Mine\r\nCookie: a\r\nContent-Length: 0\r\nx-mine: 1\r\n\r\n"
        #expect(try Self.rewritten(text, adding: "") == "GET / HTTP/1.1\r\nHost: h\r\nCookie: a\r\nContent-Length: 0\r\n\r\n")
    }

    @Test func anyMixOfKeptAndDroppedLinesComesOutInOrder() throws {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<500 {
            var (text, expected) = ("GET / HTTP/1.1\r\nHost: h\r\n", "Host: h\r\n")
            for index in 0..<Int.random(in: 0...12, using: &generator) {
                let value = String(repeating: "v", count: Int.random(in: 0...30, using: &generator))
                if Bool.random(using: &generator) {
                    text += "Keep-Alive: \(value)\r\n"
                } else {
                    text += "X-\(index): \(value)\r\n"
                    expected += "X-\(index): \(value)\r\n"
                }
            }
            let added = String(repeating: "A: b\r\n", count: Int.random(in: 0...20, using: &generator))
            #expect(try Self.rewritten(text + "\r\nrest", adding: added) == "GET / HTTP/1.1\r\n" + added + expected + "\r\nrest")
        }
    }
}
