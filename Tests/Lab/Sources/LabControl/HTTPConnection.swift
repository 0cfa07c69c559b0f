import Foundation

public struct HTTPAnswer: Sendable {
    public var status: Int
    /// By lower-case name; of several with one name the last.
    public var headers: [String: String]
    public var body: [UInt8]

    public var text: String { String(decoding: body, as: UTF8.self) }

    public func json<Value: Decodable>(_: Value.Type) throws -> Value {
        do { return try JSONDecoder().decode(Value.self, from: Data(body)) } catch {
            throw Broken(description: "not the JSON that was expected: \(text.prefix(200))")
        }
    }
}

/// One HTTP/1.1 connection, kept between requests. Blocks its thread; no call lasts longer than the time given for each wait.
public final class HTTPConnection {
    private let place: Place
    private let seconds: Int
    private var stream: Stream?
    private var buffer: [UInt8] = []

    public init(_ place: Place, seconds: Int) {
        self.place = place
        self.seconds = seconds
    }

    /// One request on a connection of its own.
    public static func ask(_ place: Place, _ method: String, _ path: String, json: String? = nil, seconds: Int = 10) throws -> HTTPAnswer {
        let headers = json == nil ? [] : ["Content-Type: application/json"]
        return try HTTPConnection(place, seconds: seconds).ask(method, path, headers: headers, body: Array((json ?? "").utf8))
    }

    /// A kept connection that the other side closed meanwhile is replaced once, if nothing of an answer had come: so does every browser.
    public func ask(_ method: String, _ path: String, headers: [String] = [], body: [UInt8] = []) throws -> HTTPAnswer {
        let lines = ["\(method) \(path) HTTP/1.1", "Host: localhost", "Content-Length: \(body.count)"] + headers
        let request = Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8) + body
        let wasKept = stream != nil
        do {
            do { return try exchange(request) } catch let failure as Stream.Silence where wasKept && failure.isEnd && method == "GET" {
                drop()
                return try exchange(request)
            }
        } catch let failure as Stream.Silence {
            drop()
            throw Broken(description: "\(method) \(path) at \(place): \(failure.reason)")
        }
    }

    private func drop() {
        stream = nil
        buffer = []
    }

    private func exchange(_ request: [UInt8]) throws -> HTTPAnswer {
        let stream = try stream ?? Stream(place, seconds: seconds)
        self.stream = stream
        try stream.send(request)
        var head: [String] = []
        while true {
            let line = try readLine(isFirst: head.isEmpty)
            if line.isEmpty { break }
            head.append(line)
        }
        guard let status = Int(head.first?.split(separator: " ").dropFirst().first ?? "") else {
            throw Stream.Silence(reason: "no HTTP: \(head.first ?? "nothing")")
        }
        var headers: [String: String] = [:]
        for line in head.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { headers[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces) }
        }
        let answer = HTTPAnswer(status: status, headers: headers, body: try body(status, headers))
        if headers["connection"]?.lowercased() == "close" { drop() }
        return answer
    }

    private func body(_ status: Int, _ headers: [String: String]) throws -> [UInt8] {
        if status == 204 || status == 304 { return [] }
        if headers["transfer-encoding"]?.lowercased() == "chunked" {
            var body: [UInt8] = []
            while true {
                guard let count = UInt32(try readLine(isFirst: false), radix: 16).map(Int.init) else {
                    throw Stream.Silence(reason: "a chunk without a size")
                }
                body += try take(count)
                _ = try readLine(isFirst: false)
                if count == 0 { return body }
            }
        }
        if let length = headers["content-length"].flatMap(Int.init) { return try take(length) }
        while try receive() {}
        let rest = buffer
        drop()
        return rest
    }

    /// False when the other side has closed.
    private func receive() throws -> Bool {
        let bytes = try stream?.receive() ?? []
        buffer += bytes
        return !bytes.isEmpty
    }

    private func take(_ count: Int) throws -> [UInt8] {
        while buffer.count < count {
            guard try receive() else { throw Stream.Silence(reason: "closed within an answer") }
        }
        defer { buffer.removeFirst(count) }
        return Array(buffer[..<count])
    }

    private func readLine(isFirst: Bool) throws -> String {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = buffer[..<end].filter { $0 != UInt8(ascii: "\r") }
                buffer.removeFirst(end + 1)
                return String(decoding: line, as: UTF8.self)
            }
            guard try receive() else { throw Stream.Silence(reason: "closed without an answer", isEnd: isFirst && buffer.isEmpty) }
        }
    }
}
