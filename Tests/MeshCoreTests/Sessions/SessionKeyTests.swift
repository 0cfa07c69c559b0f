import Testing

@testable import MeshCore

/// The constants were computed with Python's hashlib, hmac and base64.
@Suite struct SessionKeyTests {
    static let id = SessionID(bytes: Array(0..<32))
    static let value = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8.3.27-CZpB36HrksN1hRhn7naSlTWx8zBKtHkgQahKYztM"

    @Test func aKeyIsTheHashOfTheIdAndItsFirstTwelveBitsAreTheSlot() throws {
        let key = SessionKey(of: try #require(Self.id))
        #expect(key.description == "Yw3NKWbEM2aRElRIu7JbT_QSpJxzLbLIq8G4WBvXEN0")
        #expect(key.slot.rawValue == 1584)
        #expect(SessionKey(text: key.description) == key)
        #expect(SessionKey(bytes: key.bytes) == key)
        #expect(SessionKey(text: key.description.dropLast()) == nil)
    }

    @Test func aKeysTextIsTheBase64OfItsBytesAndNoOtherTextIsAKey() throws {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            let bytes = (0..<SessionKey.byteCount).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            let key = try #require(SessionKey(bytes: bytes))
            let text = Base64URL.encode(bytes)
            #expect(Array(key.description.utf8) == text)
            #expect(SessionKey(text: text) == key, "\(key)")
            for index in text.indices {
                var other = text
                other[index] = try #require("+/=.\0 \u{FF}".utf8.randomElement(using: &random))
                #expect(SessionKey(text: other) == nil, "\(key) with \(other[index]) at \(index)")
            }
            // Its last letter has two bits to spare, which are zero.
            var spare = text
            spare[42] = Base64URL.letter(of: UInt64(Base64URL.values[Int(text[42])]) | UInt64.random(in: 1...3, using: &random))
            #expect(SessionKey(text: spare) == nil, "\(key)")
        }
    }

    @Test func aChannelsSlotComesFromItsName() {
        #expect(["chat", "news", "ä"].map { Slot(channel: $0).rawValue } == [798, 415, 830])
    }

    @Test func base64HasOneTextForEachByteString() {
        let pairs: [([UInt8], String)] = [
            ([], ""), ([0x66], "Zg"), ([0x66, 0x6F], "Zm8"), ([0x66, 0x6F, 0x6F], "Zm9v"), ([0xFB, 0xFF, 0xFE], "-__-"),
        ]
        for (bytes, text) in pairs {
            #expect(String(decoding: Base64URL.encode(bytes), as: UTF8.self) == text)
            #expect(Base64URL.decode(text.utf8) == bytes)
        }
        for text in ["Z", "Zh", "Zm9", "Zm9v=", "+__-", "Zm9vZ", "Z g"] { #expect(Base64URL.decode(text.utf8) == nil, "\(text)") }
    }

    @Test func secretsAreHmacOfACounter() throws {
        var secrets = SecretGenerator(seed: Array(0..<32))
        let first = secrets.next().map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        #expect(first == "c432e059c378eef7fe2f1181a4050836f51e0856fd74937be81784fa0efa7a1c")
        let (second, third) = (secrets.next(), secrets.next())
        #expect(second != third)
    }

    static func codec(_ numbers: UInt16...) throws -> CookieCodec {
        let ring = numbers.map { CookieKey(number: $0, secret: [UInt8](repeating: UInt8($0 + 4), count: 32)) }
        return try #require(CookieCodec(ring: ring))
    }

    @Test func aCookieIsSignedByTheNewestKeyAndVerifiedByEveryone() throws {
        let id = try #require(Self.id)
        #expect(try Self.codec(3).value(for: id) == Self.value)
        let rotated = try Self.codec(3, 4)
        #expect(rotated.value(for: id) != Self.value)
        #expect(rotated.verdict(of: Self.value.utf8) == .signed(id, by: 3))
        #expect(rotated.verdict(of: rotated.value(for: id).utf8) == .signed(id, by: 4))
        #expect(rotated.renewal(of: id, signedBy: 3) == rotated.value(for: id) && rotated.renewal(of: id, signedBy: 4) == nil)
        #expect(try Self.codec(4).verdict(of: Self.value.utf8) == .refused(.unknownKey))
        #expect(CookieCodec(ring: []) == nil)
    }

    /// Why a value whose signature can't be right is refused, read off its form.
    static func fault(of value: [UInt8], ring: Set<UInt16>) -> SessionAbsence {
        // The last letter of 32 bytes has two bits to spare, which are zero.
        let digest = #/[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]\.[1-9][0-9]{0,4}\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]/#
        let text = String(decoding: value, as: UTF8.self)
        guard value.allSatisfy({ $0 < 0x80 }), text.wholeMatch(of: digest) != nil, let number = UInt16(text.split(separator: ".")[1]) else {
            return .malformed
        }
        return ring.contains(number) ? .badSignature : .unknownKey
    }

    @Test func anAlteredOrCutCookieIsNobodysAndTheReasonIsSaid() throws {
        let codec = try Self.codec(3, 4)
        let bytes = Array(Self.value.utf8)
        var reasons: [SessionAbsence: Int] = [:]
        func refuse(_ forged: [UInt8]) {
            let reason = Self.fault(of: forged, ring: [3, 4])
            #expect(codec.verdict(of: forged) == .refused(reason), "\(String(decoding: forged, as: UTF8.self))")
            reasons[reason, default: 0] += 1
        }
        for index in bytes.indices {
            for bit in 0..<8 {
                var forged = bytes
                forged[index] ^= 1 << UInt8(bit)
                refuse(forged)
            }
            refuse(Array(bytes[..<index]))
            refuse(Array(bytes[index...].dropFirst()))
            refuse(Array(bytes[..<index] + bytes[index...].dropFirst()))
            refuse(bytes[..<index] + [0x41] + bytes[index...])
        }
        #expect(Set(reasons.keys) == [.malformed, .unknownKey, .badSignature] && reasons.values.allSatisfy { $0 >= 3 })
    }

    @Test func whatIsNoCookieValueIsMalformed() throws {
        let codec = try Self.codec(3, 4)
        let texts = [
            "", ".", "..", "...", "a.b.c", String(repeating: "A", count: CookieValue.bytesMax), String(repeating: ".", count: 91),
            // The same key number, written in another way, is another text and was not signed.
            Self.value.replacing(".3.", with: ".03."), Self.value.replacing(".3.", with: ".+3."), Self.value.replacing(".3.", with: ".0."),
            Self.value.replacing(".3.", with: ".65536."), Self.value.replacing(".3.", with: ".99999."), Self.value + "A", " " + Self.value,
        ]
        for text in texts { #expect(codec.verdict(of: Array(text.utf8)) == .refused(.malformed), "\(text)") }
        #expect(codec.verdict(of: [UInt8](repeating: 0x41, count: 1 << 20)) == .refused(.malformed))
    }

    @Test func aCookieOfAnotherMeshIsNamedAsSuch() throws {
        let id = try #require(Self.id)
        let stranger = try #require(CookieCodec(ring: [CookieKey(number: 3, secret: [UInt8](repeating: 99, count: 32))]))
        let value = Array(stranger.value(for: id).utf8)
        #expect(try Self.codec(3).verdict(of: value) == .refused(.badSignature))
        #expect(try Self.codec(1, 2).verdict(of: value) == .refused(.unknownKey))
        // Signed with our key 3, and said to be of our key 4.
        let renamed = Array(Self.value.replacing(".3.", with: ".4.").utf8)
        #expect(try Self.codec(3, 4).verdict(of: renamed) == .refused(.badSignature))
    }
}
