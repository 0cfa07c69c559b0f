internal import CMeshSystem
import Glibc
import MeshCore
import MeshLoop

/// What a seed stands for at this moment.
struct SeedAnswer: Hashable, Sendable {
    /// At most ``SeedLookup/addressesMax``.
    var endpoints: [Endpoint] = []
    /// Somebody who knows has answered, even if with nothing. A name server that is away says nothing; it may know others.
    var isKnown = true
    /// Why there are none, or fewer than were meant; for a person.
    var problem: String?

    static func unknown(_ problem: String) -> SeedAnswer { SeedAnswer(isKnown: false, problem: problem) }
    static func nobody(_ problem: String) -> SeedAnswer { SeedAnswer(problem: problem) }
}

/// Finds out what seeds stand for. Each call blocks its thread for as long as the system's resolver takes: some 20 s when no name server answers.
struct SeedLookup: Sendable {
    /// Addresses that one seed may stand for; of more the first count. A name with more is no list of seeds but a whole fleet.
    static let addressesMax = 64
    /// Of a file, and the lines of it that count.
    static let fileBytesMax = 64 << 10
    static let fileSeedsMax = 64

    /// Whom to ask for services instead of the system's name servers; a test has its own.
    var nameServer: Endpoint?

    func answer(_ seed: SeedAddress) -> SeedAnswer {
        var answer =
            switch seed {
            case .endpoint(let endpoint): SeedAnswer(endpoints: [endpoint])
            case .host(let name, let port): Self.host(name, port: port)
            case .service(let name): service(name)
            case .file(let path): file(path)
            }
        answer.endpoints = Array(Self.unique(answer.endpoints).prefix(Self.addressesMax))
        return answer
    }

    private static func unique(_ endpoints: [Endpoint]) -> [Endpoint] {
        var seen: Set<Endpoint> = []
        return endpoints.filter { seen.insert($0).inserted }
    }

    // MARK: Hosts

    static func host(_ name: String, port: UInt16) -> SeedAnswer {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = CInt(SOCK_DGRAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(name, String(port), &hints, &list)
        defer { if let list { freeaddrinfo(list) } }
        switch code {
        case 0: break
        case EAI_NONAME, Self.noAddress: return .nobody("there is no host \(name), or it has no address")
        default: return .unknown("the host \(name) can't be looked up (\(String(cString: gai_strerror(code))))")
        }
        var endpoints: [Endpoint] = []
        var next = list
        while let info = next?.pointee {
            next = info.ai_next
            guard let address = info.ai_addr, let endpoint = endpoint(address, info.ai_addrlen) else { continue }
            endpoints.append(endpoint)
        }
        return endpoints.isEmpty ? .nobody("the host \(name) has no address that can be dialled") : SeedAnswer(endpoints: endpoints)
    }

    /// `EAI_NODATA`, which glibc shows to GNU programs only: there is such a name, without an address.
    private static let noAddress: CInt = -5

    /// Nil for an address with a scope, `fe80::1%eth0`: it means something on one machine only, and a member's address goes to all.
    private static func endpoint(_ address: UnsafeMutablePointer<sockaddr>, _ length: socklen_t) -> Endpoint? {
        var host = [CChar](repeating: 0, count: 64)
        var port = [CChar](repeating: 0, count: 8)
        let isText = getnameinfo(
            address, length, &host, socklen_t(host.count), &port, socklen_t(port.count), NI_NUMERICHOST | NI_NUMERICSERV)
        guard isText == 0 else { return nil }
        func text(_ characters: [CChar]) -> String {
            String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        let (name, number) = (text(host), text(port))
        return try? Endpoint(parsing: name.contains(":") ? "[\(name)]:\(number)" : "\(name):\(number)")
    }

    // MARK: Services

    private func service(_ name: String) -> SeedAnswer {
        var services = [mesh_service](repeating: mesh_service(), count: Self.addressesMax)
        let count =
            if var server = nameServer.map({ mesh_address($0) }) {
                mesh_services(name, &server, &services, CInt(services.count))
            } else {
                mesh_services(name, nil, &services, CInt(services.count))
            }
        guard count >= 0 else { return .unknown("the service \(name) can't be looked up: no name server knows") }
        guard count > 0 else { return .nobody("there is no service \(name)") }
        var answer = SeedAnswer()
        // The preferred first, as only the first addresses count.
        for service in services.prefix(Int(count)).sorted(by: { $0.priority < $1.priority }) {
            let target = withUnsafeBytes(of: service.target) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            // A lone dot says that there is decidedly no such service (RFC 2782).
            guard !target.isEmpty, target != ".", service.port != 0, answer.endpoints.count < Self.addressesMax else { continue }
            answer.add(Self.host(target, port: service.port))
        }
        return answer
    }

    // MARK: Files

    private func file(_ path: String) -> SeedAnswer {
        switch SmallFile.read(path, bytesMax: Self.fileBytesMax) {
        case .bytes(let bytes): return seeds(in: bytes, of: path)
        case .missing: return .nobody("there is no file \(path)")
        case .tooLarge: return .unknown("the file \(path) has more than \(Self.fileBytesMax) bytes, and is no list of seeds")
        case .failed(let reason): return .unknown("the file \(path) can't be read (\(reason))")
        }
    }

    /// A line that is no seed is told of; the others count all the same.
    private func seeds(in bytes: [UInt8], of path: String) -> SeedAnswer {
        var answer = SeedAnswer()
        var count = 0
        let lines = bytes.split(omittingEmptySubsequences: false) { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }
        for (number, line) in lines.enumerated() {
            let text = line.prefix { $0 != UInt8(ascii: "#") }.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
            guard let first = text.first else { continue }
            count += 1
            guard count <= Self.fileSeedsMax else {
                answer.problem = "the file \(path) has more than \(Self.fileSeedsMax) seeds, of which the first count"
                break
            }
            let seed = text.count == 1 ? try? SeedAddress(parsing: String(decoding: first, as: UTF8.self)) : nil
            switch seed {
            case nil, .file: answer.problem = "line \(number + 1) of the file \(path) is not HOST:PORT or srv:NAME"
            case .some(let seed): answer.add(self.answer(seed))
            }
        }
        if count == 0 { answer.problem = "the file \(path) names no seed" }
        return answer
    }
}

extension SeedAnswer {
    fileprivate mutating func add(_ other: SeedAnswer) {
        endpoints += other.endpoints
        isKnown = isKnown && other.isKnown
        problem = problem ?? other.problem
    }
}
