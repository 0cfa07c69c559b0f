import Foundation

/// The container engine, as far as a lab needs it, by its HTTP API.
public struct Engine: Sendable {
    private let place: Place
    private let project: String
    /// What sidecars are made of: the image of this very suite.
    private let tools: String

    public init(socket: String = "/var/run/docker.sock", project: String, tools: String) {
        place = .unix(socket)
        self.project = project
        self.tools = tools
    }

    public struct Container: Decodable, Sendable {
        public var id: String
        /// `running`, `paused`, `exited` and others.
        public var state: String
        private var labels: [String: String]

        /// What the compose file calls it; names of containers differ from one version of compose to the next.
        public var service: String { labels["com.docker.compose.service"] ?? "" }

        private enum CodingKeys: String, CodingKey {
            case id = "Id"
            case state = "State"
            case labels = "Labels"
        }
    }

    /// What an inspection tells.
    public struct Details: Decodable, Sendable {
        public var state: State
        public var config: Config
        public var hostConfig: HostConfig
        /// All of them, by whatever option each was asked for.
        public var mounts: [Mount]

        public struct State: Decodable, Sendable {
            public var pid: Int
            public var startedAt: String
            public var health: Health?

            public struct Health: Decodable, Sendable {
                public var status: String
                private enum CodingKeys: String, CodingKey { case status = "Status" }
            }
            private enum CodingKeys: String, CodingKey {
                case pid = "Pid"
                case startedAt = "StartedAt"
                case health = "Health"
            }
        }

        public struct Config: Decodable, Sendable {
            public var user: String
            private enum CodingKeys: String, CodingKey { case user = "User" }
        }

        public struct HostConfig: Decodable, Sendable {
            public var readonlyRootfs: Bool
            public var privileged: Bool
            public var capAdd: [String]?
            public var capDrop: [String]?
            public var securityOpt: [String]?
            private enum CodingKeys: String, CodingKey {
                case readonlyRootfs = "ReadonlyRootfs"
                case privileged = "Privileged"
                case capAdd = "CapAdd"
                case capDrop = "CapDrop"
                case securityOpt = "SecurityOpt"
            }
        }

        public struct Mount: Decodable, Sendable {
            /// `volume`; `bind` for a path of the machine, and others.
            public var type: String
            /// Of a volume: what the compose file calls it, behind the project's name and `_`.
            public var name: String?
            public var destination: String
            public var isWritable: Bool
            private enum CodingKeys: String, CodingKey {
                case type = "Type"
                case name = "Name"
                case destination = "Destination"
                case isWritable = "RW"
            }
        }

        private enum CodingKeys: String, CodingKey {
            case state = "State"
            case config = "Config"
            case hostConfig = "HostConfig"
            case mounts = "Mounts"
        }
    }

    /// All containers of the project, those that ended too.
    public func containers() throws -> [Container] {
        let filter = #"{"label":["com.docker.compose.project=\#(project)"]}"#
        let escaped = filter.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        return try ask("GET", "/containers/json?all=1&filters=\(escaped)").json([Container].self)
    }

    public func container(_ service: String) throws -> Container {
        guard let found = try containers().first(where: { $0.service == service }) else {
            throw Broken(description: "the lab has no container of the service \(service)")
        }
        return found
    }

    public func details(_ service: String) throws -> Details {
        try ask("GET", "/containers/\(try container(service).id)/json").json(Details.self)
    }

    // MARK: Faults

    public func kill(_ service: String) throws { try order(service, "kill") }
    public func pause(_ service: String) throws { try order(service, "pause") }
    public func unpause(_ service: String) throws { try order(service, "unpause") }
    public func start(_ service: String) throws { try order(service, "start") }
    /// Sends SIGTERM and waits for the end, for as long as the compose file grants.
    public func stop(_ service: String) throws { try order(service, "stop") }

    private func order(_ service: String, _ verb: String) throws {
        _ = try ask("POST", "/containers/\(try container(service).id)/\(verb)")
    }

    /// Kills the first process of a container behind the engine's back, as the kernel would: then its restart policy counts.
    public func killProcess(of service: String) throws {
        try sidecar(["kill", "-9", "\(try details(service).state.pid)"], host: #""PidMode":"host","CapAdd":["KILL"]"#)
    }

    /// Runs a program in the network of a container, with the right to change what passes.
    /// - Returns: what it says.
    @discardableResult
    public func inNetwork(of service: String, _ words: [String]) throws -> String {
        try sidecar(words, host: #""NetworkMode":"container:\#(try container(service).id)","CapAdd":["NET_ADMIN"]"#)
    }

    /// A container that does one thing, is waited for, and is gone.
    @discardableResult
    private func sidecar(_ words: [String], host: String) throws -> String {
        struct Created: Decodable {
            var id: String
            private enum CodingKeys: String, CodingKey { case id = "Id" }
        }
        struct Ended: Decodable {
            var code: Int
            private enum CodingKeys: String, CodingKey { case code = "StatusCode" }
        }
        let command = words.map { "\"\($0)\"" }.joined(separator: ",")
        // The label is for whoever cleans up, should this process be killed.
        let labels = #"{"sessionmesh.lab":"\#(project)"}"#
        let body = #"{"Image":"\#(tools)","Entrypoint":[],"Cmd":[\#(command)],"Labels":\#(labels),"HostConfig":{\#(host)}}"#
        let id = try ask("POST", "/containers/create", json: body).json(Created.self).id
        defer { _ = try? ask("DELETE", "/containers/\(id)?force=1") }
        _ = try ask("POST", "/containers/\(id)/start")
        let ended = try ask("POST", "/containers/\(id)/wait").json(Ended.self)
        let said = Self.text(of: try ask("GET", "/containers/\(id)/logs?stdout=1&stderr=1").body)
        guard ended.code == 0 else { throw Broken(description: "\(words.joined(separator: " ")) ended with \(ended.code): \(said)") }
        return said
    }

    /// What a container said. It comes in pieces, each behind eight bytes, the last four of which are its size.
    /// https://docs.docker.com/reference/api/engine/version/v1.43/#tag/Container/operation/ContainerAttach
    private static func text(of log: [UInt8]) -> String {
        var text: [UInt8] = []
        var rest = log[...]
        while rest.count >= 8 {
            let count = rest.dropFirst(4).prefix(4).reduce(0) { sum, byte in sum << 8 | Int(byte) }
            text += rest.dropFirst(8).prefix(count)
            rest = rest.dropFirst(8 + count)
        }
        return String(decoding: text, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private func ask(_ method: String, _ path: String, json: String? = nil) throws -> HTTPAnswer {
        let answer = try HTTPConnection.ask(place, method, path, json: json, seconds: 120)
        // 304: it was so already.
        guard answer.status < 400 else { throw Broken(description: "the engine refuses \(method) \(path): \(answer.text)") }
        return answer
    }
}
