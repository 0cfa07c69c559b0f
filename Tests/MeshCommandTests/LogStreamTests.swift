import Foundation
import Testing

@testable import MeshCommand

/// What an agent logs never holds it up.
@Suite struct LogStreamTests {
    @Test func aLogThatNobodyReadsHoldsNobodyUpAndSaysWhatItDropped() throws {
        let pipe = Pipe()
        let stream = LogStream(to: pipe.fileHandleForWriting.fileDescriptor)
        let line = String(repeating: "x", count: 199) + "\n"
        // More than a pipe takes and more than may wait: this comes back only if nothing is waited for.
        for _ in 0..<5000 { stream.write(line) }
        stream.flush()

        let reader = pipe.fileHandleForReading
        var text = ""
        while !text.contains("dropped") { text += String(decoding: reader.availableData, as: UTF8.self) }
        let lines = text.split(separator: "\n")
        let dropped = try #require(lines.last?.split(separator: " ").compactMap { Int($0) }.first)
        #expect(lines.count - 1 + dropped == 5000)
        #expect(dropped > 0)
    }

    @Test func linesKeepTheirOrder() throws {
        let pipe = Pipe()
        let stream = LogStream(to: pipe.fileHandleForWriting.fileDescriptor)
        for number in 0..<100 { stream.write("\(number)\n") }
        stream.flush()
        let text = String(decoding: pipe.fileHandleForReading.availableData, as: UTF8.self)
        #expect(text == (0..<100).map { "\($0)\n" }.joined())
    }
}
