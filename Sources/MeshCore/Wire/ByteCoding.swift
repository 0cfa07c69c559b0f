// How identities are written, once for every format that carries them.

extension ByteWriter {
    public mutating func write(_ name: NodeName) { write(short: name.description.utf8) }
    public mutating func write(_ life: Life) { write(life.rawValue) }

    public mutating func write(_ id: MemberID) {
        write(id.name)
        write(id.life)
    }

    /// Text of at most 255 bytes of UTF-8.
    public mutating func write(text: String) { write(short: text.utf8) }
}

extension ByteReader {
    public mutating func readText() throws(WireError) -> String {
        guard let text = String(validating: try readShort(), as: UTF8.self) else { throw .malformedText }
        return text
    }

    public mutating func readName() throws(WireError) -> NodeName {
        guard let name = NodeName(bytes: try readShort()) else { throw .malformedText }
        return name
    }

    public mutating func readLife() throws(WireError) -> Life { Life(rawValue: try read()) }

    public mutating func readMemberID() throws(WireError) -> MemberID {
        MemberID(name: try readName(), life: try readLife())
    }

    public mutating func readEndpoint() throws(WireError) -> Endpoint {
        let address = try readShort()
        guard let endpoint = Endpoint(address: address, port: try read()) else { throw .unknownValue }
        return endpoint
    }
}
