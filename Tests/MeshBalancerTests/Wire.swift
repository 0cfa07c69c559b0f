import Glibc
import Synchronization

/// A blocking socket for tests, with a deadline of 20 s on everything, so that a lost byte is a failure and not a hang.
final class Wire: @unchecked Sendable {
    // Unchecked because a test hands a wire to one thread at a time.
    let descriptor: Int32
    private var pending: [UInt8] = []
    /// Whether the descriptor's number may have another owner by now.
    private let isClosed = Mutex(false)
    /// Lives at least as long as this wire: a balancer stops when nobody holds it.
    var keeps: AnyObject?

    struct Broken: Error, CustomStringConvertible { var description: String }

    init(descriptor: Int32) {
        self.descriptor = descriptor
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
    }

    convenience init(port: UInt16, receiveBuffer: Int32? = nil) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if var size = receiveBuffer { setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4) }
        var address = Wire.loopback(port: port)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard result == 0 else {
            Glibc.close(descriptor)
            throw Broken(description: "can't connect to port \(port): \(errno)")
        }
        self.init(descriptor: descriptor)
    }

    deinit { close() }

    /// A socket on a port that the system chose.
    static func bound() throws -> (descriptor: Int32, port: UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = Wire.loopback(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard isBound else { throw Broken(description: "can't bind: \(errno)") }
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }

    static func loopback(port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    func close() {
        isClosed.withLock { isClosed in
            if !isClosed { Glibc.close(descriptor) }
            isClosed = true
        }
    }

    /// Ends both directions from another thread.
    func breakOff() {
        isClosed.withLock { isClosed in
            if !isClosed { shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
    }

    func finishWriting() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Closes so that the peer gets a reset.
    func reset() {
        var hard = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &hard, socklen_t(MemoryLayout<linger>.size))
        close()
    }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw Broken(description: "send failed after \(sent) of \(bytes.count) bytes: \(errno)") }
            sent += count
        }
    }

    /// False at the end of the stream.
    private func fill() throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count >= 0 else {
            throw Broken(description: "receive failed: \(errno) after \(String(decoding: pending.prefix(200), as: UTF8.self))")
        }
        pending.append(contentsOf: chunk[..<count])
        return count > 0
    }

    /// Through the blank line; nil when the stream ends first.
    func readHead() throws -> String? {
        var searched = 0
        while true {
            if let end = Self.endOfHead(pending, from: searched) {
                defer { pending.removeFirst(end) }
                return String(decoding: pending[..<end], as: UTF8.self)
            }
            searched = max(0, pending.count - 3)
            guard try fill() else { return nil }
        }
    }

    private static func endOfHead(_ bytes: [UInt8], from start: Int) -> Int? {
        guard bytes.count >= 4 else { return nil }
        for index in start..<max(start, bytes.count - 3)
        where bytes[index] == 13 && bytes[index + 1] == 10 && bytes[index + 2] == 13 && bytes[index + 3] == 10 {
            return index + 4
        }
        return nil
    }

    func read(_ count: Int) throws -> [UInt8] {
        while pending.count < count {
            guard try fill() else { throw Broken(description: "the stream ended after \(pending.count) of \(count) bytes") }
        }
        defer { pending.removeFirst(count) }
        return Array(pending[..<count])
    }

    func readLine() throws -> String {
        while true {
            if let end = pending.firstIndex(of: 10) {
                defer { pending.removeFirst(end + 1) }
                return String(decoding: pending[..<max(0, end - 1)], as: UTF8.self)
            }
            guard try fill() else { throw Broken(description: "the stream ended within a line") }
        }
    }

    func readToEnd() throws -> [UInt8] {
        while try fill() {}
        defer { pending = [] }
        return pending
    }

    /// The peer has closed, with nothing more to read. A reset counts.
    func isAtEnd() -> Bool {
        guard pending.isEmpty else { return false }
        return (try? !fill()) ?? (errno == ECONNRESET)
    }

    // MARK: HTTP

    struct Message {
        var head: String
        var body: [UInt8]
        var text: String { String(decoding: body, as: UTF8.self) }
        var firstLine: String { String(head.prefix { $0 != "\r\n" }) }
        var status: Int { Int(head.split(separator: " ").dropFirst().first ?? "") ?? 0 }

        func values(_ name: String) -> [String] {
            head.split(separator: "\r\n").dropFirst().compactMap { line in
                guard let colon = line.firstIndex(of: ":"), line[..<colon].lowercased() == name.lowercased() else { return nil }
                return String(line[line.index(after: colon)...].drop { $0 == " " })
            }
        }

        func value(_ name: String) -> String? { values(name).first }
    }

    /// A request or an answer with its body; nil when the stream ends before it.
    func readMessage(bodyless: Bool = false, untilCloseAllowed: Bool = false) throws -> Message? {
        guard let head = try readHead() else { return nil }
        var message = Message(head: head, body: [])
        if bodyless || message.status == 204 || message.status == 304 || (100..<200).contains(message.status) { return message }
        if let length = message.value("Content-Length").flatMap(Int.init) {
            message.body = try read(length)
        } else if message.value("Transfer-Encoding") != nil {
            while true {
                let size = Int(try readLine(), radix: 16) ?? 0
                message.body += try read(size)
                _ = try readLine()
                if size == 0 { break }
            }
        } else if untilCloseAllowed {
            message.body = try readToEnd()
        }
        return message
    }

    /// Sends a request and reads its answer.
    func ask(_ request: String, bodyless: Bool = false) throws -> Message {
        try send(request)
        guard let answer = try readMessage(bodyless: bodyless, untilCloseAllowed: true) else {
            throw Broken(description: "the connection closed instead of an answer to \(request.prefix(60))")
        }
        return answer
    }

    func get(_ path: String, fields: String = "") throws -> Message {
        try ask("GET \(path) HTTP/1.1\r\nHost: test\r\n\(fields)\r\n")
    }
}

/// A port that refuses: it is taken, so that no other test gets it, and nobody listens.
final class ClosedPort {
    let port: UInt16
    private let descriptor: Int32

    init() throws { (descriptor, port) = try Wire.bound() }

    func close() { Glibc.close(descriptor) }
}

/// An origin whose every connection is served by a script on a thread of its own.
final class Origin: Sendable {
    let port: UInt16
    private let listener: Int32
    private let state = Mutex(State())

    private struct State {
        var connections = 0
        var requests: [Wire.Message] = []
        var open: [Wire] = []
        var isStopped = false
    }

    init(_ script: @escaping @Sendable (Wire, Origin) throws -> Void) throws {
        let (listener, port) = try Wire.bound()
        guard listen(listener, 1024) == 0 else { throw Wire.Broken(description: "an origin can't listen: \(errno)") }
        self.listener = listener
        self.port = port
        thread { [self] in
            while true {
                let descriptor = accept(listener, nil, nil)
                // Closed here and nowhere else: a number closed under a blocked accept could be somebody else's listener next.
                guard descriptor >= 0 else { return _ = Glibc.close(listener) }
                let wire = Wire(descriptor: descriptor)
                let goesOn = state.withLock { state in
                    state.connections += 1
                    if !state.isStopped { state.open.append(wire) }
                    return !state.isStopped
                }
                guard goesOn else { continue }
                thread {
                    try? script(wire, self)
                    self.state.withLock { state in state.open.removeAll { $0 === wire } }
                    wire.close()
                }
            }
        }
    }

    /// Answers every request through `answer`, keeping the connection.
    static func answering(_ answer: @escaping @Sendable (Wire.Message) -> String) throws -> Origin {
        try Origin { wire, origin in
            while let request = try wire.readMessage() {
                origin.saw(request)
                try wire.send(answer(request))
            }
        }
    }

    /// 200 with `body`.
    static func saying(_ body: String) throws -> Origin {
        try answering { _ in ok(body) }
    }

    static func ok(_ body: String) -> String { "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)" }

    func saw(_ request: Wire.Message) { state.withLock { $0.requests.append(request) } }
    var requests: [Wire.Message] { state.withLock { $0.requests } }
    var connections: Int { state.withLock { $0.connections } }

    /// Refuses from now on, and breaks what is open.
    func stop() {
        let (open, isFirst) = state.withLock { state in
            defer {
                state.open = []
                state.isStopped = true
            }
            return (state.open, !state.isStopped)
        }
        guard isFirst else { return }
        shutdown(listener, Int32(SHUT_RDWR))
        for wire in open { wire.breakOff() }
    }
}

func thread(_ body: @escaping @Sendable () -> Void) {
    final class Box { let body: @Sendable () -> Void; init(_ body: @escaping @Sendable () -> Void) { self.body = body } }
    var id = pthread_t()
    let box = Unmanaged.passRetained(Box(body))
    pthread_create(
        &id, nil,
        { argument in
            if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
            return nil
        }, box.toOpaque())
    pthread_detach(id)
}

/// Waits for a state, generously.
func eventually(_ what: () -> Bool) -> Bool {
    for _ in 0..<2000 {
        if what() { return true }
        usleep(10_000)
    }
    return what()
}
