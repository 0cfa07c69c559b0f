/// A client's end of a WebSocket (RFC 6455): text messages, masked, small enough for one frame.
final class WebSocket {
    private let wire: Wire
    private var mask: UInt8 = 1

    init(_ address: String, _ path: String, cookie: String? = nil) throws {
        wire = try Wire(address, patience: 30)
        var head = "GET \(path) HTTP/1.1\r\nHost: \(address)\r\nOrigin: http://\(address)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        if let cookie { head += "Cookie: \(cookie)\r\n" }
        try wire.send(Array((head + "\r\n").utf8))
        let answer = try HTTP.answer(wire)
        guard answer.status == 101 else { throw Wire.Failure(description: "no upgrade: \(answer.status) \(answer.body)") }
    }

    func send(_ text: String) throws {
        try sendFrame(0x81, Array(text.utf8))
    }

    private func sendFrame(_ first: UInt8, _ payload: [UInt8]) throws {
        mask &+= 1
        let key: [UInt8] = [mask, 7, 42, 99]
        var frame: [UInt8] = [first]
        if payload.count < 126 {
            frame.append(0x80 | UInt8(payload.count))
        } else {
            frame += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        }
        frame += key
        frame += payload.enumerated().map { $1 ^ key[$0 % 4] }
        try wire.send(frame)
    }

    /// The next text message. Pings are answered on the way.
    func receive() throws -> String {
        while true {
            let head = try wire.read(2)
            var length = Int(head[1] & 0x7F)
            if length == 126 {
                let long = try wire.read(2)
                length = Int(long[0]) << 8 | Int(long[1])
            }
            let payload = try wire.read(length)
            switch head[0] & 0x0F {
            case 1: return String(decoding: payload, as: UTF8.self)
            case 8: throw Wire.Failure(description: "closed: \(payload)")
            case 9: try sendFrame(0x8A, payload)
            default: break
            }
        }
    }
}
