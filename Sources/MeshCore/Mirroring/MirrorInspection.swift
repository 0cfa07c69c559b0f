/// What a mirror's server says of itself, for a person who is about to rely on it.
public struct MirrorInspection: Hashable, Sendable {
    /// Its name and version, such as `Redis 7.0.15`.
    public var server: String
    public var findings: [Finding]

    public struct Finding: Hashable, Sendable {
        public enum Kind: String, Hashable, Sendable {
            /// It does this.
            case does
            /// It doesn't, and the mesh lives with it.
            case lacks
            /// Sessions may be lost or not written; an operator should act.
            case risk
        }

        public var kind: Kind
        /// A line for a person, without secrets.
        public var text: String

        public init(_ kind: Kind, _ text: String) {
            self.kind = kind
            self.text = text
        }
    }

    public init(server: String, findings: [Finding] = []) {
        self.server = server
        self.findings = findings
    }
}
