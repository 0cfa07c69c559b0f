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
        for _ in 0..<Self.many { stream.write(line) }
        stream.flush()

        var (text, written, dropped) = ("", 0, 0)
        while written + dropped < Self.many {
            text += String(decoding: pipe.fileHandleForReading.availableData, as: UTF8.self)
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            for line in lines.dropLast() {
                if line.contains("dropped") {
                    dropped += line.split(separator: " ").compactMap { Int($0) }.reduce(0, +)
                } else {
                    written += 1
                }
            }
            text = String(lines.last ?? "")
        }
        // One batch is being written, another waits.
        let pipeBytes = 64 * 1024
        #expect(written + dropped == Self.many)
        #expect(dropped > 0 && written * line.utf8.count <= 2 * LogStream.bytesMax + pipeBytes, "\(dropped) of \(Self.many) were dropped")
    }

    private static let many = 3 * LogStream.bytesMax / 200

    @Test func linesKeepTheirOrder() throws {
        let pipe = Pipe()
        let stream = LogStream(to: pipe.fileHandleForWriting.fileDescriptor)
        for number in 0..<100 { stream.write("\(number)\n") }
        stream.flush()
        let text = String(decoding: pipe.fileHandleForReading.availableData, as: UTF8.self)
        #expect(text == (0..<100).map { "\($0)\n" }.joined())
    }
}
