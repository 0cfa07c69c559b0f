import Glibc

/// What a process says of itself: lines of `NAME=value` in one datagram, sd_notify(3).
enum Notice {
    /// A longer one is nobody's who means it.
    private static let bytesMax = 4096

    /// Nil when there is none, or none that makes sense.
    static func receive(from socket: Int32) -> [String: String]? {
        var buffer = [UInt8](repeating: 0, count: bytesMax)
        let count = recv(socket, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        guard count > 0 else { return nil }
        var fields: [String: String] = [:]
        for line in String(decoding: buffer[..<count], as: UTF8.self).split(separator: "\n") {
            guard let equals = line.firstIndex(of: "=") else { continue }
            fields[String(line[..<equals])] = String(line[line.index(after: equals)...])
        }
        return fields.isEmpty ? nil : fields
    }
}
