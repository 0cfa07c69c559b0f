/// Finds and checks the heads of HTTP/1 messages in raw bytes, strictly by RFC 9112: one wrong byte is a refusal, never a guess.
///
/// Two parties that read one head differently is what request smuggling is made of, so nothing here is lenient: lines end with CRLF, names are tokens, a value has no control
/// character, a folded line, a second Content-Length or a doubtful Transfer-Encoding is refused. A scanner is kept and used again, so that a
/// head costs no allocation; ``fields`` describes the head it scanned last.
public struct HeadScanner: Sendable {
    public enum Result<Head: Sendable>: Sendable {
        /// Right so far, but the blank line has not come.
        case incomplete
        case head(Head)
        case fault(HeadFault)
    }

    /// The field lines of the last head, in their order.
    public private(set) var fields: [HeadField] = []

    public init() {
        fields.reserveCapacity(HeadLimits.fieldsMax)
    }

    /// Keeps fields of that kind from being passed on.
    public mutating func drop(_ kind: FieldKind) {
        for index in fields.indices where fields[index].kind == kind { fields[index].isDropped = true }
    }

    /// Scans a request from the first byte of `bytes`.
    public mutating func scanRequest(_ bytes: UnsafeRawBufferPointer) -> Result<RequestHead> {
        var head = RequestHead()
        do throws(HeadFault) {
            // One empty line in front is forgiven (RFC 9112, section 2.2).
            if bytes.count >= 2, bytes[0] == cr, bytes[1] == lf { head.start = 2 }
            guard try scanRequestLine(bytes, &head) else { return .incomplete }
            guard let end = try scanFields(bytes, from: head.fieldsStart) else { return .incomplete }
            head.byteCount = end
            try interpretRequest(bytes, &head)
        } catch {
            return .fault(error)
        }
        return .head(head)
    }

    /// Scans a response from the first byte of `bytes`. What a client is answered to a fault is 502, whichever it is.
    public mutating func scanResponse(_ bytes: UnsafeRawBufferPointer) -> Result<ResponseHead> {
        var head = ResponseHead()
        do throws(HeadFault) {
            guard try scanStatusLine(bytes, &head) else { return .incomplete }
            guard let end = try scanFields(bytes, from: head.fieldsStart) else { return .incomplete }
            head.byteCount = end
            try interpretResponse(bytes, &head)
        } catch {
            return .fault(error)
        }
        return .head(head)
    }

    // MARK: First lines

    private func scanRequestLine(_ bytes: UnsafeRawBufferPointer, _ head: inout RequestHead) throws(HeadFault) -> Bool {
        let end = bytes.firstControl(from: head.start)
        guard end - head.start <= HeadLimits.requestLineBytesMax else { throw .requestLineTooLong }
        var position = head.start
        while position < end, isTokenByte(bytes[position]) { position &+= 1 }
        head.methodRange = head.start..<position
        guard position - head.start <= HeadLimits.methodBytesMax else { throw .malformed }
        if position < end, bytes[position] != space || position == head.start { throw .malformed }
        guard end < bytes.count else { return false }
        guard bytes[end] == cr else { throw .malformed }
        guard end + 1 < bytes.count else { return false }
        guard bytes[end + 1] == lf, position < end else { throw .malformed }

        let targetStart = position + 1
        position = targetStart
        while position < end, bytes[position] != space {
            // Beyond ASCII, or a fragment: not a request target (RFC 3986, section 2).
            if bytes[position] >= 0x80 || bytes[position] == UInt8(ascii: "#") { throw .malformed }
            position &+= 1
        }
        head.target = targetStart..<position
        guard !head.target.isEmpty else { throw .malformed }
        try scanVersion(bytes, min(position + 1, end)..<end, isHTTP11: &head.isHTTP11)
        head.fieldsStart = end + 2
        head.method = Self.method(bytes, head.methodRange)
        if head.method == .trace || head.method == .connect { throw .methodNotAllowed }
        try readTargetForm(bytes, &head)
        return true
    }

    private func scanVersion(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, isHTTP11: inout Bool) throws(HeadFault) {
        guard range.count == 8 else { throw .malformed }
        let prefix = bytes.loadUnaligned(fromByteOffset: range.lowerBound, as: UInt64.self).bigEndian
        switch prefix {
        case 0x4854_5450_2F31_2E31: isHTTP11 = true  // HTTP/1.1
        case 0x4854_5450_2F31_2E30: isHTTP11 = false  // HTTP/1.0
        default:
            let isDigit = { (byte: UInt64) in byte &- 0x30 < 10 }
            guard prefix >> 24 == 0x48_5454_502F, isDigit(prefix >> 16 & 255), prefix >> 8 & 255 == 0x2E, isDigit(prefix & 255) else {
                throw .malformed
            }
            throw .unsupportedVersion
        }
    }

    private func readTargetForm(_ bytes: UnsafeRawBufferPointer, _ head: inout RequestHead) throws(HeadFault) {
        let target = head.target
        if bytes[target.lowerBound] == UInt8(ascii: "/") { return }
        if target.count == 1, bytes[target.lowerBound] == UInt8(ascii: "*") {
            guard head.method == .options else { throw .malformed }
            return
        }
        for scheme: StaticString in ["http://", "https://"] {
            let schemeEnd = target.lowerBound + scheme.utf8CodeUnitCount
            guard schemeEnd < target.upperBound, bytes.matches(target.lowerBound..<schemeEnd, scheme) else { continue }
            var end = schemeEnd
            while end < target.upperBound, bytes[end] != UInt8(ascii: "/"), bytes[end] != UInt8(ascii: "?") { end += 1 }
            head.isAbsoluteForm = true
            head.authority = schemeEnd..<end
            head.target = end..<target.upperBound
            return
        }
        throw .malformed
    }

    private static func method(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> HTTPMethod {
        // Methods are case-sensitive: "get" is an unknown method, not GET.
        func spells(_ name: StaticString) -> Bool {
            for offset in 0..<range.count where bytes[range.lowerBound + offset] != name.utf8Start[offset] { return false }
            return true
        }
        switch range.count {
        case 3: return spells("GET") ? .get : spells("PUT") ? .put : .other
        case 4: return spells("POST") ? .post : spells("HEAD") ? .head : .other
        case 5: return spells("PATCH") ? .patch : spells("QUERY") ? .query : spells("TRACE") ? .trace : .other
        case 6: return spells("DELETE") ? .delete : .other
        case 7: return spells("OPTIONS") ? .options : spells("CONNECT") ? .connect : .other
        default: return .other
        }
    }

    private func scanStatusLine(_ bytes: UnsafeRawBufferPointer, _ head: inout ResponseHead) throws(HeadFault) -> Bool {
        var end = bytes.firstControl(from: 0)
        while end < bytes.count, bytes[end] == tab { end = bytes.firstControl(from: end + 1) }
        guard end <= HeadLimits.requestLineBytesMax else { throw .headTooLarge }
        guard end + 1 < bytes.count else {
            if end < bytes.count, bytes[end] != cr { throw .malformed }
            return false
        }
        guard bytes[end] == cr, bytes[end + 1] == lf, end >= 12, bytes[8] == space else { throw .malformed }
        try scanVersion(bytes, 0..<8, isHTTP11: &head.isHTTP11)
        for position in 9..<12 {
            let digit = bytes[position] &- 0x30
            guard digit < 10 else { throw .malformed }
            head.status = head.status * 10 + Int(digit)
        }
        guard (100...599).contains(head.status), end == 12 || bytes[12] == space else { throw .malformed }
        head.fieldsStart = end + 2
        return true
    }

    // MARK: Field lines

    /// The position behind the blank line, or nil when it has not come.
    private mutating func scanFields(_ bytes: UnsafeRawBufferPointer, from start: Int) throws(HeadFault) -> Int? {
        fields.removeAll(keepingCapacity: true)
        var position = start
        while true {
            guard position <= HeadLimits.headBytesMax else { throw .headTooLarge }
            guard position < bytes.count else { return try incomplete(bytes) }
            if bytes[position] == cr {
                guard position + 1 < bytes.count else { return try incomplete(bytes) }
                guard bytes[position + 1] == lf, position + 2 <= HeadLimits.headBytesMax else { throw .malformed }
                return position + 2
            }
            let lineStart = position
            while position < bytes.count, isTokenByte(bytes[position]) { position &+= 1 }
            guard position < bytes.count else { return try incomplete(bytes) }
            // Also catches an empty name, white space before the colon, and a folded line.
            guard bytes[position] == UInt8(ascii: ":"), position > lineStart else { throw .malformed }
            let nameEnd = position
            position &+= 1
            while position < bytes.count, bytes[position] == space || bytes[position] == tab { position &+= 1 }
            let valueStart = position
            var lineEnd = bytes.firstControl(from: position)
            while lineEnd < bytes.count, bytes[lineEnd] == tab { lineEnd = bytes.firstControl(from: lineEnd + 1) }
            guard lineEnd - lineStart <= HeadLimits.fieldBytesMax else { throw .headTooLarge }
            guard lineEnd < bytes.count else { return try incomplete(bytes) }
            guard bytes[lineEnd] == cr else { throw .malformed }
            guard lineEnd + 1 < bytes.count else { return try incomplete(bytes) }
            guard bytes[lineEnd + 1] == lf else { throw .malformed }
            guard lineEnd + 2 <= HeadLimits.headBytesMax, fields.count < HeadLimits.fieldsMax else { throw .headTooLarge }
            var valueEnd = lineEnd
            while valueEnd > valueStart, bytes[valueEnd - 1] == space || bytes[valueEnd - 1] == tab { valueEnd &-= 1 }
            fields.append(
                HeadField(
                    start: UInt16(truncatingIfNeeded: lineStart), nameEnd: UInt16(truncatingIfNeeded: nameEnd),
                    valueStart: UInt16(truncatingIfNeeded: valueStart), valueEnd: UInt16(truncatingIfNeeded: valueEnd),
                    end: UInt16(truncatingIfNeeded: lineEnd + 2), kind: FieldKind(bytes, lineStart..<nameEnd), isDropped: false))
            position = lineEnd + 2
        }
    }

    private func incomplete(_ bytes: UnsafeRawBufferPointer) throws(HeadFault) -> Int? {
        if bytes.count >= HeadLimits.headBytesMax { throw .headTooLarge }
        return nil
    }

    // MARK: What the fields mean

    private mutating func interpretRequest(_ bytes: UnsafeRawBufferPointer, _ head: inout RequestHead) throws(HeadFault) {
        var facts = Facts()
        var hosts = 0
        var host = 0..<0
        for index in fields.indices {
            let field = fields[index]
            switch field.kind {
            case .other: continue
            case .host:
                hosts += 1
                host = field.value
                fields[index].isDropped = head.isAbsoluteForm
            case .contentLength: try facts.readLength(bytes, field)
            case .transferEncoding: try facts.readTransferEncoding(bytes, field)
            case .connection:
                try facts.readConnection(bytes, field)
                fields[index].isDropped = true
            case .upgrade:
                if bytes.matches(field.value, "websocket") { facts.namesWebSocket = true }
                fields[index].isDropped = true
            case .expect:
                guard bytes.matches(field.value, "100-continue") else { throw .unknownExpectation }
                head.expectsContinue = head.isHTTP11
                fields[index].isDropped = !head.isHTTP11
            case .hopByHop, .forwarded: fields[index].isDropped = true
            case .cookie: head.hasCookies = true
            case .webSocketKey: head.webSocketKey = field.value
            case .idempotencyKey: head.hasIdempotencyKey = true
            case .webSocketAccept: continue
            }
        }
        guard hosts == 1 || (hosts == 0 && !head.isHTTP11) else { throw .badHost }
        if hosts == 1 { try Self.checkAuthority(bytes, host) }
        if head.isAbsoluteForm { try Self.checkAuthority(bytes, head.authority) } else { head.authority = host }

        head.framing = try facts.framing(isHTTP11: head.isHTTP11) ?? .none
        head.isPersistent = facts.isPersistent(isHTTP11: head.isHTTP11)
        head.asksForWebSocket =
            facts.saysUpgrade && facts.namesWebSocket && head.isHTTP11 && head.method == .get && head.framing == .none
        dropNamedByConnection(bytes, facts)
    }

    private mutating func interpretResponse(_ bytes: UnsafeRawBufferPointer, _ head: inout ResponseHead) throws(HeadFault) {
        var facts = Facts()
        for index in fields.indices {
            let field = fields[index]
            switch field.kind {
            case .contentLength: try facts.readLength(bytes, field)
            case .transferEncoding: try facts.readTransferEncoding(bytes, field)
            case .connection:
                try facts.readConnection(bytes, field)
                fields[index].isDropped = true
            case .upgrade:
                if bytes.matches(field.value, "websocket") { facts.namesWebSocket = true }
                fields[index].isDropped = true
            case .hopByHop: fields[index].isDropped = true
            case .webSocketAccept: head.webSocketAccept = field.value
            default: continue
            }
        }
        head.framing = try facts.framing(isHTTP11: head.isHTTP11) ?? .untilClose
        head.isPersistent = facts.isPersistent(isHTTP11: head.isHTTP11)
        head.upgradesToWebSocket = head.status == 101 && facts.saysUpgrade && facts.namesWebSocket
        dropNamedByConnection(bytes, facts)
    }

    private mutating func dropNamedByConnection(_ bytes: UnsafeRawBufferPointer, _ facts: Facts) {
        guard facts.namesOthers else { return }
        for connection in fields.indices where fields[connection].kind == .connection {
            var tokens = ListReader(bytes, fields[connection].value)
            while let token = tokens.next() {
                for index in fields.indices
                where fields[index].kind.mayBeNamedByConnection && bytes.sameToken(fields[index].name, token) {
                    fields[index].isDropped = true
                }
            }
        }
    }

    /// `host [":" port]`, with no user, path, list or space (RFC 9110, section 7.2).
    private static func checkAuthority(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(HeadFault) {
        guard !range.isEmpty, range.count <= HeadLimits.authorityBytesMax else { throw .badHost }
        var position = range.lowerBound
        if bytes[position] == UInt8(ascii: "[") {
            position += 1
            let start = position
            while position < range.upperBound, bytes[position] != UInt8(ascii: "]") {
                guard Self.isAddressByte(bytes[position]) else { throw .badHost }
                position += 1
            }
            guard position < range.upperBound, position > start else { throw .badHost }
            position += 1
        } else {
            while position < range.upperBound, bytes[position] != UInt8(ascii: ":") {
                let byte = bytes[position]
                // reg-name: unreserved, sub-delims without the comma, and percent escapes.
                guard
                    isTokenByte(byte) && byte != UInt8(ascii: "#") && byte != UInt8(ascii: "^") && byte != UInt8(ascii: "`")
                        && byte != UInt8(ascii: "|")
                else { throw .badHost }
                position += 1
            }
            guard position > range.lowerBound else { throw .badHost }
        }
        guard position < range.upperBound else { return }
        guard bytes[position] == UInt8(ascii: ":"), range.upperBound - position <= 6 else { throw .badHost }
        for position in (position + 1)..<range.upperBound where bytes[position] &- 0x30 > 9 { throw .badHost }
    }

    private static func isAddressByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"),
            UInt8(ascii: ":"), UInt8(ascii: "."):
            true
        default: false
        }
    }
}

/// What the framing and connection fields of one head say together.
private struct Facts {
    private var length: Int?
    private var isChunked = false
    private var saysClose = false
    private var saysKeepAlive = false
    private(set) var saysUpgrade = false
    private(set) var namesOthers = false
    private var tokens = 0
    var namesWebSocket = false

    mutating func readLength(_ bytes: UnsafeRawBufferPointer, _ field: HeadField) throws(HeadFault) {
        // Digits and nothing else, once. White space behind the digits is legal and has split parsers, so it is refused too.
        guard length == nil, field.valueEnd + 2 == field.end, (1...19).contains(field.value.count), isPlain(bytes, field) else {
            throw .badLength
        }
        var total = 0
        for position in field.value {
            let digit = bytes[position] &- 0x30
            let (product, overflow) = total.multipliedReportingOverflow(by: 10)
            let (sum, carried) = product.addingReportingOverflow(Int(digit))
            guard digit < 10, !overflow, !carried else { throw .badLength }
            total = sum
        }
        length = total
    }

    mutating func readTransferEncoding(_ bytes: UnsafeRawBufferPointer, _ field: HeadField) throws(HeadFault) {
        guard !isChunked, isPlain(bytes, field) else { throw .badTransferEncoding }
        if bytes.matches(field.value, "chunked") {
            isChunked = true
            return
        }
        var codings = ListReader(bytes, field.value)
        var last = 0..<0
        var chunked = 0
        while let coding = codings.next() {
            for position in coding where !isTokenByte(bytes[position]) { throw .badTransferEncoding }
            last = coding
            if bytes.matches(coding, "chunked") { chunked += 1 }
        }
        guard chunked == 1, bytes.matches(last, "chunked") else { throw .badTransferEncoding }
        throw .unknownTransferCoding
    }

    mutating func readConnection(_ bytes: UnsafeRawBufferPointer, _ field: HeadField) throws(HeadFault) {
        var list = ListReader(bytes, field.value)
        while let token = list.next() {
            tokens += 1
            guard tokens <= HeadLimits.connectionTokensMax else { throw .malformed }
            if bytes.matches(token, "keep-alive") {
                saysKeepAlive = true
            } else if bytes.matches(token, "close") {
                saysClose = true
            } else if bytes.matches(token, "upgrade") {
                saysUpgrade = true
            } else {
                namesOthers = true
            }
        }
    }

    func framing(isHTTP11: Bool) throws(HeadFault) -> BodyFraming? {
        if isChunked {
            guard length == nil else { throw .lengthAndTransferEncoding }
            guard isHTTP11 else { throw .badTransferEncoding }
            return .chunked
        }
        return length.map { $0 == 0 ? BodyFraming.none : .length($0) }
    }

    func isPersistent(isHTTP11: Bool) -> Bool { !saysClose && (isHTTP11 || saysKeepAlive) }

    /// At most plain spaces between colon and value: a tab there has hidden Transfer-Encoding from servers.
    private func isPlain(_ bytes: UnsafeRawBufferPointer, _ field: HeadField) -> Bool {
        for position in (Int(field.nameEnd) + 1)..<Int(field.valueStart) where bytes[position] != space { return false }
        return true
    }
}

/// The members of a comma-separated list, without the white space around them. Empty members are skipped (RFC 9110, section 5.6.1).
struct ListReader {
    private let bytes: UnsafeRawBufferPointer
    private var position: Int
    private let end: Int

    init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
        self.bytes = bytes
        position = range.lowerBound
        end = range.upperBound
    }

    mutating func next() -> Range<Int>? {
        while position < end {
            var stop = position
            while stop < end, bytes[stop] != UInt8(ascii: ",") { stop += 1 }
            var start = position
            var finish = stop
            while start < finish, bytes[start] == space || bytes[start] == tab { start += 1 }
            while finish > start, bytes[finish - 1] == space || bytes[finish - 1] == tab { finish -= 1 }
            position = stop + 1
            if start < finish { return start..<finish }
        }
        return nil
    }
}

extension FieldKind {
    /// Length first, then the few names of that length.
    @inline(__always)
    init(_ bytes: UnsafeRawBufferPointer, _ name: Range<Int>) {
        @inline(__always) func spells(_ known: StaticString) -> Bool { bytes.matches(name, known) }
        self =
            switch name.count {
            case 2: spells("te") ? .hopByHop : .other
            case 4: spells("host") ? .host : .other
            case 6: spells("cookie") ? .cookie : spells("expect") ? .expect : .other
            case 7: spells("upgrade") ? .upgrade : .other
            case 9: spells("forwarded") ? .forwarded : .other
            case 10: spells("connection") ? .connection : spells("keep-alive") ? .hopByHop : .other
            case 14: spells("content-length") ? .contentLength : spells("http2-settings") ? .hopByHop : .other
            case 15: spells("x-forwarded-for") ? .forwarded : spells("idempotency-key") ? .idempotencyKey : .other
            case 16:
                spells("x-forwarded-host") || spells("x-forwarded-port")
                    ? .forwarded : spells("proxy-connection") ? .hopByHop : .other
            case 17:
                spells("transfer-encoding")
                    ? .transferEncoding : spells("x-forwarded-proto") ? .forwarded : spells("sec-websocket-key") ? .webSocketKey : .other
            case 20: spells("sec-websocket-accept") ? .webSocketAccept : .other
            default: .other
            }
    }
}

private var cr: UInt8 { 0x0D }
private var lf: UInt8 { 0x0A }
private var space: UInt8 { 0x20 }
private var tab: UInt8 { 0x09 }
