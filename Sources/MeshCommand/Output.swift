import Dispatch
import Foundation
import MeshAgent

/// Standard output and standard error, written at once and unbuffered, because a program may wait for the line.
enum Output {
    static func line(_ text: String) { write(text + "\n") }
    static func line(_ json: JSON) { line(json.line) }

    /// Nothing is said about a reader that went away.
    static func write(_ text: String) { write(text, to: STDOUT_FILENO) }

    static func complain(_ line: String) { write("sessionmesh: \(line)\n", to: STDERR_FILENO) }
    static func note(_ line: String) { write(line + "\n", to: STDERR_FILENO) }

    /// A date given in Unix milliseconds, to the second.
    static func date(_ milliseconds: Int64) -> String {
        Date(timeIntervalSince1970: Double(milliseconds / 1000)).formatted(.iso8601)
    }

    static func write(_ text: String, to descriptor: CInt) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }

    /// Prints each line from a thread that may wait: a reader that pauses must not hold a thread that the process needs.
    static func print(_ lines: some AsyncSequence<String, Never>) async {
        let queue = DispatchQueue(label: "sessionmesh.output")
        for await text in lines {
            await withCheckedContinuation { continuation in
                queue.async {
                    line(text)
                    continuation.resume()
                }
            }
        }
    }
}

/// Rows under headings, each column as wide as its widest word.
struct TextTable {
    private var rows: [[String]]

    init(_ headings: String...) {
        rows = [headings]
    }

    mutating func add(_ row: String...) { rows.append(row) }

    /// Control characters are shown as `?`, so that nothing that another process says of itself moves the cursor.
    var text: String {
        let cells = rows.map { $0.map { String($0.map { $0.isASCII && ($0.asciiValue ?? 0) < 0x20 || $0 == "\u{7F}" ? "?" : $0 }) } }
        let columns = cells.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in cells.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
        return cells.map { row in
            var line = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }.joined()
    }
}
