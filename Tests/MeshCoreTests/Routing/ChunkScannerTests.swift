import MeshCore
import Testing

@Suite struct ChunkScannerTests {
    static func scan(_ text: String, step: Int = .max) -> (ChunkScanner.Progress, content: String) {
        let bytes = Array(text.utf8)
        var scanner = ChunkScanner()
        var content: [UInt8] = []
        var position = 0
        while position < bytes.count {
            let part = Array(bytes[position..<min(bytes.count, step == .max ? bytes.count : position + step)])
            let progress = part.withUnsafeBytes { scanner.consume($0) { content += part[$0] } }
            switch progress {
            case .more: position += part.count
            case .end(let count): return (.end(position + count), String(decoding: content, as: UTF8.self))
            case .fault: return (.fault, "")
            }
        }
        return (.more, String(decoding: content, as: UTF8.self))
    }

    @Test(arguments: [
        "0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "A\r\n0123456789\r\n00\r\n\r\n", "1;a\r\nx\r\n0;b=c;d=\"e \\\" f\"\r\n\r\n",
        "3\r\nabc\r\n0\r\nX-Sum: 1\r\nEmpty:\r\n\r\n",
    ])
    func aBodyEndsAtTheSamePlaceHoweverItIsCut(_ text: String) {
        let whole = Self.scan(text + "GET /")
        #expect(whole.0 == .end(text.utf8.count))
        for step in 1...5 {
            let cut = Self.scan(text + "GET /", step: step)
            #expect(cut.0 == whole.0)
            #expect(cut.content == whole.content)
        }
    }

    @Test func contentIsToldFromFraming() {
        #expect(Self.scan("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").content == "abcde")
    }

    @Test(arguments: [
        "0x1\r\n", "1_0\r\n", "-1\r\n", "+1\r\n", " 1\r\n", "1 \r\n", "\r\n", "g\r\n", "1;\r\n", "1; a\r\n", "1;a=\r\n", "1;a b\r\n",
        "1;(\r\n", "1;a=\"\u{1}\"\r\n",
        "1;a\n", "1\n", "1\r\r\n", "1\r\nab", "1\r\na\n", "1\r\na\rx", "fffffffffffffffff\r\n", "0000000000000000\r\n",
        "0\r\nbad name: x\r\n",
        "0\r\n: x\r\n", "0\r\nname\r\n", "0\r\nx: a\n", "0\r\n folded\r\n", "0\r\n\n",
        "1;" + String(repeating: "a", count: 1025), "0\r\n" + String(repeating: "a: b\r\n", count: 33),
        "0\r\na: " + String(repeating: "b", count: 8200),
    ])
    func whatIsNotAChunkIsRefused(_ text: String) {
        #expect(Self.scan(text).0 == .fault, "\(text.debugDescription.prefix(80))")
        #expect(Self.scan(text, step: 1).0 == .fault, "\(text.debugDescription.prefix(80)), byte by byte")
    }

    @Test func extensionsAreBoundedOverTheWholeMessage() {
        let chunk = "1;" + String(repeating: "a", count: 100) + "\r\nx\r\n"
        #expect(Self.scan(String(repeating: chunk, count: 10)).0 == .more)
        #expect(Self.scan(String(repeating: chunk, count: 11)).0 == .fault)
    }
}
