/// One exchange over one connection of its own.
struct HTTPAnswer {
    let status: Int
    let fields: [(name: String, value: String)]
    let body: String

    func field(_ name: String) -> String? {
        fields.first { $0.name == name }?.value
    }
}

enum HTTP {
    /// Sends one request and reads one answer; the connection is closed after it.
    static func ask(
        _ address: String, _ method: String, _ path: String, fields: [(String, String)] = [], body: String = "", patience: Int = 10
    ) throws -> HTTPAnswer {
        let wire = try Wire(address, patience: patience)
        let host = address.hasPrefix("unix:") ? "localhost" : address
        var head = "\(method) \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n"
        for (name, value) in fields { head += "\(name): \(value)\r\n" }
        if !body.isEmpty || method == "POST" { head += "Content-Length: \(body.utf8.count)\r\n" }
        try wire.send(Array((head + "\r\n" + body).utf8))
        return try answer(wire)
    }

    static func answer(_ wire: Wire) throws -> HTTPAnswer {
        let head = String(decoding: try wire.read(through: Array("\r\n\r\n".utf8)), as: UTF8.self)
        var lines = head.split(separator: "\r\n").map(String.init)
        let parts = lines.removeFirst().split(separator: " ")
        guard parts.count >= 2, let status = Int(parts[1]) else { throw Wire.Failure(description: "not an HTTP answer: \(head)") }
        let fields = lines.compactMap { line -> (name: String, value: String)? in
            guard let colon = line.firstIndex(of: ":") else { return nil }
            return (line[..<colon].lowercased(), String(line[line.index(after: colon)...].drop { $0 == " " }))
        }
        func field(_ name: String) -> String? { fields.first { $0.name == name }?.value }
        var body: [UInt8] = []
        if let length = field("content-length").flatMap({ Int($0) }) {
            body = try wire.read(length)
        } else if field("transfer-encoding") == "chunked" {
            while true {
                let line = String(decoding: try wire.read(through: [13, 10]).dropLast(2), as: UTF8.self)
                guard let size = Int(line, radix: 16) else { throw Wire.Failure(description: "not a chunk size: \(line)") }
                body += try wire.read(size)
                _ = try wire.read(2)
                if size == 0 { break }
            }
        } else if status != 101, status != 204, status != 304 {
            body = try wire.readToEnd()
        }
        return HTTPAnswer(status: status, fields: fields, body: String(decoding: body, as: UTF8.self))
    }
}

/// A visitor: keeps the session cookie it is given, and nothing else.
struct Browser {
    let address: String
    private(set) var cookie: String?

    init(_ address: String, cookie: String? = nil) {
        self.address = address
        self.cookie = cookie
    }

    mutating func get(_ path: String) throws -> HTTPAnswer { try ask("GET", path) }

    mutating func post(_ path: String, _ form: String = "", fields: [(String, String)] = []) throws -> HTTPAnswer {
        try ask("POST", path, form, fields)
    }

    private mutating func ask(
        _ method: String, _ path: String, _ form: String = "", _ more: [(String, String)] = []
    ) throws -> HTTPAnswer {
        var fields = [("Accept", "application/json")] + more
        if let cookie { fields.append(("Cookie", cookie)) }
        if !form.isEmpty { fields.append(("Content-Type", "application/x-www-form-urlencoded")) }
        let answer = try HTTP.ask(address, method, path, fields: fields, body: form)
        for field in answer.fields where field.name == "set-cookie" {
            cookie = field.value.split(separator: ";").first.map(String.init)
        }
        return answer
    }
}
