import Foundation

/// Where something is listened to.
public enum Place: Hashable, Sendable, CustomStringConvertible {
    case unix(String)
    case tcp(host: String, port: Int)

    public var description: String {
        switch self {
        case .unix(let path): path
        case .tcp(let host, let port): "\(host):\(port)"
        }
    }
}

/// A conversation that came to nothing: nobody was there, the connection broke, or no answer came in time.
public struct Broken: Error, CustomStringConvertible {
    public var description: String
}

/// A socket that blocks its thread, for no longer at a time than it was told.
final class Stream {
    private let descriptor: Int32
    private let seconds: Int

    /// Why nothing comes; `isEnd` when the other side closed before it said a word.
    struct Silence: Error {
        var reason: String
        var isEnd = false
    }

    init(_ place: Place, seconds: Int) throws {
        self.seconds = seconds
        var failure = "no address"
        for (family, name) in try Self.names(of: place) {
            let made = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            var limit = timeval(tv_sec: seconds, tv_usec: 0)
            // On Linux the limit for sending holds for connecting as well.
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                setsockopt(made, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
            }
            let result = name.withUnsafeBytes { bytes in
                bytes.baseAddress.map { connect(made, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count)) } ?? -1
            }
            if result == 0 {
                descriptor = made
                return
            }
            failure = String(cString: strerror(errno))
            close(made)
        }
        throw Silence(reason: failure)
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw Silence(reason: String(cString: strerror(errno)), isEnd: errno == EPIPE || errno == ECONNRESET) }
            rest = rest.dropFirst(count)
        }
    }

    /// Nothing when the other side has closed.
    func receive() throws -> [UInt8] {
        var piece = [UInt8](repeating: 0, count: 16 << 10)
        let count = recv(descriptor, &piece, piece.count, 0)
        if count < 0 {
            let isLate = errno == EAGAIN
            throw Silence(reason: isLate ? "no answer within \(seconds) s" : String(cString: strerror(errno)), isEnd: errno == ECONNRESET)
        }
        return Array(piece[..<count])
    }

    private static func names(of place: Place) throws -> [(family: Int32, name: [UInt8])] {
        switch place {
        case .unix(let path):
            var name = sockaddr_un()
            name.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
            return [(AF_UNIX, withUnsafeBytes(of: name) { Array($0) })]
        case .tcp(let host, let port):
            var hints = addrinfo()
            hints.ai_family = AF_INET
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            var found: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(host, "\(port)", &hints, &found) == 0 else { throw Silence(reason: "\(host) has no address") }
            defer { freeaddrinfo(found) }
            var names: [(Int32, [UInt8])] = []
            var next = found
            while let entry = next?.pointee {
                if let address = entry.ai_addr {
                    names.append((entry.ai_family, Array(UnsafeRawBufferPointer(start: address, count: Int(entry.ai_addrlen)))))
                }
                next = entry.ai_next
            }
            return names
        }
    }
}
