# m2bert_embed_text(OUTPUT TEXT_FILE HEADER NAMESPACE FUNCTION)
# Writes a source file that defines `std::string_view FUNCTION()` with the text, and sets OUTPUT to its path. HEADER declares the
# function. The text is read when CMake configures, and again when it changes; raw string literals compile in no time.
function(m2bert_embed_text output text_file header namespace function)
  set(delimiter "m2bert_text")
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${function}.cpp)
  file(READ ${text_file} text)
  string(FIND "${text}" ")${delimiter}\"" clash)
  if(NOT clash EQUAL -1)
    message(FATAL_ERROR "${text_file} contains )${delimiter}\", which ends the string it is embedded as.")
  endif()
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT "// Made from @text_file@ by CMake.
#include \"@header@\"

namespace @namespace@ {

std::string_view @function@() {
  static constexpr char text[] = R\"@delimiter@(@text@)@delimiter@\";
  return {text, sizeof(text) - 1};
}

}  // namespace @namespace@
")
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-Wno-overlength-strings")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${text_file})
  set(${output} ${source} PARENT_SCOPE)
endfunction()
