import Crypto

/// The proof that a server understood a WebSocket handshake (RFC 6455, section 4.2.2). SHA-1 is the protocol's choice and guards no secret.
public enum WebSocketAccept {
    private static let guid: StaticString = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    /// The 28 characters that must come back for `key`; nil when `key` is not the base64 text of 16 bytes.
    public static func expected(for key: UnsafeRawBufferPointer) -> [UInt8]? {
        guard key.count == 24, key[22] == UInt8(ascii: "="), key[23] == UInt8(ascii: "=") else { return nil }
        var hash = Insecure.SHA1()
        hash.update(bufferPointer: key)
        hash.update(bufferPointer: UnsafeRawBufferPointer(start: guid.utf8Start, count: guid.utf8CodeUnitCount))
        return base64(Array(hash.finalize()))
    }

    /// Standard alphabet with padding (RFC 4648, section 4); ``Base64URL`` is the other one.
    private static func base64(_ bytes: [UInt8]) -> [UInt8] {
        var text = Base64URL.encode(bytes).map {
            $0 == UInt8(ascii: "-") ? UInt8(ascii: "+") : $0 == UInt8(ascii: "_") ? UInt8(ascii: "/") : $0
        }
        while text.count % 4 != 0 { text.append(UInt8(ascii: "=")) }
        return text
    }
}
